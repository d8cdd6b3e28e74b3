#pragma once
// Rotary position embedding (Su et al., 2021, eq. 34): each pair of one dimension of the first half of a head and one of the second is turned by an angle that grows
// with the position.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace seqmill::tensor {

/// Cosines and sines of the first positions [positions, 2, half]; `frequencies` [half] are the angles of position 1.
at::Tensor rotary_table(const std::vector<float>& frequencies, int64_t positions);

/// x [N, W] with its first `heads` heads of 2 * half columns turned, the rest as it is. `positions` [N] int64, all within the table.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& table, int64_t heads);

}  // namespace seqmill::tensor
