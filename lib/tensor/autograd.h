#pragma once
// What functions with a backward pass of their own share.

#include <torch/csrc/autograd/custom_function.h>

#include <string>

#include "kernel/float_kernels.h"

namespace seqmill::tensor {

/// As torch::autograd::Function takes what may be missing.
inline c10::optional<at::Tensor> optional(const at::Tensor& tensor) { return tensor.defined() ? c10::make_optional(tensor) : c10::nullopt; }

/// A mask for the backward pass, which draws it again.
inline void save_mask(torch::autograd::AutogradContext* context, const std::string& name, kernel::DropoutMask mask) {
  context->saved_data[name + "-key"] = static_cast<int64_t>(mask.key);
  context->saved_data[name + "-probability"] = static_cast<double>(mask.probability);
}

inline kernel::DropoutMask saved_mask(torch::autograd::AutogradContext* context, const std::string& name) {
  return {static_cast<uint64_t>(context->saved_data[name + "-key"].toInt()), static_cast<float>(context->saved_data[name + "-probability"].toDouble())};
}

}  // namespace seqmill::tensor
