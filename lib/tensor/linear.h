#pragma once

#include <ATen/core/Tensor.h>

#include "tensor/dropout.h"

namespace seqmill::tensor {

/// x [N, in], weight [out, in], bias [out] or undefined -> residual + dropout(x weight^T + bias) [N, out], as the epilogue says; without one x weight^T + bias. On the CPU the products go through oneDNN
/// (at training shapes faster than LibTorch's own). Without gradients each row of the result is the same, bit for bit, whatever
/// the other rows: decoding does not depend on the batch.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {}, const Epilogue& epilogue = {});

}  // namespace seqmill::tensor
