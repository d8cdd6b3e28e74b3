#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "tensor/dropout.h"

namespace seqmill::tensor {

/// The two-layer perceptron of one sub-layer.
struct FeedForwardWeights {
  at::Tensor up, up_bias;      ///< [H, D], [H]
  at::Tensor down, down_bias;  ///< [D, H], [D]
};

/// x [N, D] -> activation(x up^T + up_bias) down^T + down_bias [N, D], with dropout on the hidden units; what becomes of that, `epilogue` says. `activation`: "relu" or "gelu".
/// With ReLU on the CPU the hidden units exist in float32 only slice by slice, and the backward pass keeps them in the precision of training.
at::Tensor feed_forward(const at::Tensor& x, const FeedForwardWeights& weights, const std::string& activation, double dropout,
                        DropoutStream* stream, const Epilogue& epilogue = {});

}  // namespace seqmill::tensor
