#pragma once
// Gradient checkpointing (Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost"): what a function needs for its backward pass is not kept but computed
// again.

#include <ATen/core/Tensor.h>

#include <functional>

#include "tensor/dropout.h"

namespace seqmill::tensor {

/// function(x, stream). Its backward pass calls the function once more, with the stream as it was, so that masks are the same; gradients of parameters are added
/// where they belong. x must require a gradient, or nothing behind the function has one. What the function refers to must live until then.
at::Tensor checkpoint(std::function<at::Tensor(const at::Tensor& x, DropoutStream* stream)> function, const at::Tensor& x, DropoutStream* stream);

}  // namespace seqmill::tensor
