#pragma once

#include <string>
#include <vector>

#include "tensor/weights.h"

namespace seqmill::tensor {

/// The mean of the tensors of several weight files, name by name. All must hold the same names and shapes.
std::vector<NamedTensor> average_weights(const std::vector<std::string>& files);

/// The weight files of the `count` newest checkpoints of a run directory, oldest first. Throws Error when there are fewer.
std::vector<std::string> newest_checkpoints(const std::string& run, int64_t count);

}  // namespace seqmill::tensor
