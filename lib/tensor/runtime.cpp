#include "tensor/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <torch/version.h>

#include <atomic>

#include "base/error.h"
#include "base/strings.h"
#include "base/threads.h"
#include "base/version.h"
#include "kernel/gemm.h"

namespace seqmill::tensor {
namespace {

std::atomic<Precision> chosen_precision{Precision::kFloat32};

const bool version_line = (add_version_line("LibTorch", TORCH_VERSION), true);

}  // namespace

void set_up_runtime(int threads) {
  // glibc serves blocks above 128 KiB by mmap and returns them at once: each step would fault its memory in again.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
  set_threads(threads);
  at::set_num_threads(threads);
  at::globalContext().setDeterministicAlgorithms(true, true);
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 2)
  at::globalContext().setDeterministicFillUninitializedMemory(false);
#endif
}

void limit_thread_to_itself() {
  // LibTorch sets a new thread's count at the first operator that asks for it; asked for now, it cannot undo ours later.
  at::get_num_threads();
  set_threads(1);
}

void set_precision(Precision precision) { chosen_precision = precision; }
Precision precision() { return chosen_precision; }

Precision parse_precision(const std::string& name) {
  if (name == "fp32" || (name == "auto" && !kernel::has_bfloat16())) return Precision::kFloat32;
  if (!kernel::has_bfloat16()) fail_usage("--precision bf16: this CPU has no bfloat16 arithmetic (AVX512-BF16); use fp32 or auto");
  return Precision::kBFloat16;
}

const char* name_of(Precision precision) { return precision == Precision::kBFloat16 ? "bf16" : "fp32"; }

at::Device parse_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  int64_t index = -1;
  if (name != "cuda" && (!starts_with(name, "cuda:") || !parse_int(std::string_view(name).substr(5), index) || index < 0 || index > 127)) {
    fail_usage("--device {}: expected cpu, cuda or cuda:N", name);
  }
  if (!at::hasCUDA()) fail_usage("--device {}: this LibTorch or this machine has no CUDA", name);
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

bool is_fast(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

}  // namespace seqmill::tensor
