#pragma once

#include <string>
#include <vector>

#include "tensor/weights.h"

namespace seqmill::tensor {

/// The mean of the tensors of several weight files, name by name. All must hold the same names and shapes.
std::vector<NamedTensor> average_weights(const std::vector<std::string>& files);

/// Gives the targets the mean of the files, which are checkpoints of `run`. Throws Error unless they hold all of them in these shapes.
void load_average(const std::string& run, const std::vector<std::string>& files, const std::vector<NamedTensor>& targets);

}  // namespace seqmill::tensor
