#pragma once

#include <ATen/core/Tensor.h>

#include "tensor/dropout.h"

namespace seqmill::tensor {

/// x [N, in], weight [out, in], bias [out] or undefined -> x weight^T + bias [N, out]. On the CPU the products go through oneDNN
/// (at training shapes faster than LibTorch's own). Without gradients each row of the result is the same, bit for bit, whatever
/// the other rows: decoding does not depend on the batch. The residual of the joint is [N, out].
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {}, const Joint& joint = {});

}  // namespace seqmill::tensor
