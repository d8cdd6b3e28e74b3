#pragma once

#include <ATen/core/Tensor.h>

namespace seqmill::tensor {

/// scale * rows `tokens` [N] int64 of weight [V, D] -> [N, D]. The gradient of a flattened parameter is added row by row, so that a batch costs
/// what its tokens cost and not what the vocabulary does.
at::Tensor embed(const at::Tensor& weight, const at::Tensor& tokens, double scale);

}  // namespace seqmill::tensor
