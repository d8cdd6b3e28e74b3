#pragma once
// What must be set once per process before LibTorch is used well.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace seqmill::tensor {

/// Sets LibTorch's thread count (Debian's comes up with one), keeps big blocks in the allocator instead of handing them back to
/// the kernel after each step, limits an OpenBLAS with threads of its own to one, and makes LibTorch's own operators deterministic where it
/// has a choice.
void set_up_runtime(int threads);

/// From here on this thread computes alone, whatever the process's thread count. For workers that each have their own batch.
void limit_thread_to_itself();

/// All threads take their memory from the heap that set_up_runtime() prepares. Else glibc gives each a heap that hands big blocks back to the kernel
/// as soon as they are free. For threads that ask seldom and for much; call it before there are any.
void share_one_heap();

/// What the products of training are computed in. Weights, sums and everything else stay float32; products without gradient too.
enum class Precision { kFloat32, kBFloat16 };
void set_precision(Precision precision);
Precision precision();
/// "auto" (bfloat16 where the CPU has it in hardware), "fp32" or "bf16" (a usage error on a CPU without).
Precision parse_precision(const std::string& name);
const char* name_of(Precision precision);

/// "cpu", "cuda" or "cuda:1"; anything else is a usage error, and so is CUDA where there is none.
at::Device parse_device(const std::string& name);

/// CUDA devices that this process sees.
int64_t count_gpus();

/// True for what the CPU kernels take: float32, contiguous, on the CPU.
bool is_fast(const at::Tensor& tensor);

}  // namespace seqmill::tensor
