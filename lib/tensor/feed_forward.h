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

/// x [N, D], gates [2 H, D] (those of the gates, then those of the values), down [D, H] -> swiglu(x gates^T) down^T [N, D] (Shazeer, 2020, eq. 6), with dropout on the
/// hidden units; what becomes of that, `epilogue` says. On the CPU what is before the gates exists in float32 only slice by slice.
at::Tensor gated_feed_forward(const at::Tensor& x, const at::Tensor& gates, const at::Tensor& down, double dropout, DropoutStream* stream,
                              const Epilogue& epilogue = {});

/// swiglu of rows [N, 2 H] -> [N, H]
at::Tensor swiglu(const at::Tensor& gates);

}  // namespace seqmill::tensor
