#pragma once
// Token losses over a large vocabulary, fused with the output layer: logits exist in slices only, in which their gradient is made at once; that
// is held once, in the precision of training.

#include <ATen/core/Tensor.h>

namespace seqmill::loss {

struct TokenLoss {
  at::Tensor sum;      ///< scalar, differentiable: label-smoothed cross-entropy summed over the tokens, in nats
  double nll_sum = 0;  ///< -log p(target) summed over the tokens, in nats
};

/// hidden [M, D], weight [V, D], bias [V] or undefined, target [M] int64. Label smoothing as in Szegedy et al., 2016, section 7:
/// the target distribution is 1 - smoothing on the target plus smoothing / V on every token.
TokenLoss label_smoothed_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias,
                                       const at::Tensor& target, double smoothing);

/// -log p(target) per token [M], without gradient.
at::Tensor token_nll(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target);

/// log p(target) per token [M], differentiable: for losses that weigh tokens, or sums of them, each in its own way.
at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target);

}  // namespace seqmill::loss
