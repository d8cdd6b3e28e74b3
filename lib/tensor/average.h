#pragma once

#include <string>
#include <vector>

#include "tensor/weights.h"

namespace seqmill::tensor {

/// The mean of the tensors of several weight files, name by name. All must hold the same names and shapes.
std::vector<NamedTensor> average_weights(const std::vector<std::string>& files);

}  // namespace seqmill::tensor
