#pragma once

#include <ATen/core/Tensor.h>

namespace seqmill::tensor {

/// What a row is divided by once its mean is 0: its standard deviation (L2; biased, epsilon added to the variance), or its mean deviation times sqrt(pi / 2)
/// (L1; epsilon added), which for normally distributed rows is the same (Lin et al., 2020, eq. 13). Or, its mean being left, the root of its mean square (RMS;
/// epsilon added to that; Zhang & Sennrich, 2019), without a bias.
enum class NormKind { kL2, kL1, kRms };

struct NormSettings {
  NormSettings(NormKind kind = NormKind::kL2, double epsilon = 1e-5) : kind(kind), epsilon(epsilon) {}
  NormKind kind;
  double epsilon;
};

/// Layer normalisation (Ba, Kiros & Hinton, 2016) of each row of x [N, D], then times weight [D] plus bias [D] (undefined for RMS). Weights of other sizes are an
/// error.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormSettings settings = {});

/// What a residual connection around a normalised sub-layer begins with: layer_norm(x), and x for the addition behind the sub-layer. In the backward
/// pass the gradients of both meet here, in one pass.
struct Normed {
  at::Tensor normed, residual;
};
Normed layer_norm_with_residual(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormSettings settings = {});

}  // namespace seqmill::tensor
