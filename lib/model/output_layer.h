#pragma once

#include <ATen/core/Tensor.h>

namespace seqmill::model {

/// The output layer: logits = hidden weight^T + bias.
struct OutputLayer {
  at::Tensor weight;  ///< [V, D]
  at::Tensor bias;    ///< [V] or undefined
};

}  // namespace seqmill::model
