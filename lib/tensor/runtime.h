#pragma once
// What must be set once per process before LibTorch is used well.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace seqmill::tensor {

/// Sets LibTorch's thread count (Debian's comes up with one), keeps big blocks in the allocator instead of handing them back to
/// the kernel after each step, and makes LibTorch's own operators deterministic where it has a choice.
void set_up_runtime(int threads);

/// True for what the CPU kernels take: float32, contiguous, on the CPU.
bool is_fast(const at::Tensor& tensor);

}  // namespace seqmill::tensor
