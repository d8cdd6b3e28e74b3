#pragma once

#include <ATen/core/Tensor.h>

namespace seqmill::tensor {

/// Layer normalisation (Ba, Kiros & Hinton, 2016): each row of x [N, D] is brought to mean 0 and variance 1 (biased, plus 1e-5), then times weight [D]
/// plus bias [D]. Weights of other sizes are an error.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// What a residual connection around a normalised sub-layer begins with: layer_norm(x), and x for the addition behind the sub-layer. In the backward
/// pass the gradients of both meet here, in one pass.
struct Normed {
  at::Tensor normed, residual;
};
Normed layer_norm_with_residual(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace seqmill::tensor
