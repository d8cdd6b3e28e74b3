#pragma once
// bfloat16 copies of float32 tensors, as factors of products.

#include <ATen/core/Tensor.h>

#include "kernel/gemm.h"

namespace seqmill::tensor {

/// x, float32 and contiguous, rounded to bfloat16.
at::Tensor to_bfloat16(const at::Tensor& x);

/// The numbers of a contiguous tensor as kernel::gemm takes them.
template <typename Number>
const Number* numbers(const at::Tensor& x);
template <>
inline const float* numbers<float>(const at::Tensor& x) {
  return x.data_ptr<float>();
}
template <>
inline const kernel::BFloat16* numbers<kernel::BFloat16>(const at::Tensor& x) {
  return reinterpret_cast<const kernel::BFloat16*>(x.data_ptr<at::BFloat16>());
}

/// The same to write to.
inline kernel::BFloat16* mutable_numbers(const at::Tensor& x) { return reinterpret_cast<kernel::BFloat16*>(x.data_ptr<at::BFloat16>()); }

}  // namespace seqmill::tensor
