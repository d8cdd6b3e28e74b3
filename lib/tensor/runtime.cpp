#include "tensor/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <malloc.h>
#include <sys/mman.h>
#include <torch/version.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/threads.h"
#include "base/version.h"
#include "kernel/gemm.h"

namespace seqmill::tensor {
namespace {

std::atomic<Precision> chosen_precision{Precision::kFloat32};

using Text = char* (*)();
using Number = int (*)();

// By name, since LibTorch brings its own BLAS or the system's, and that may be any.
template <typename Function>
Function blas_function(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

std::string blas() {
  const auto config = blas_function<Text>("openblas_get_config");
  if (!config) return "not OpenBLAS";
  const auto parallel = blas_function<Number>("openblas_get_parallel");
  const int kind = parallel ? parallel() : -1;
  const char* threads = kind == 0 ? "one thread" : kind == 1 ? "POSIX threads" : kind == 2 ? "OpenMP" : "threads unknown";
  return fmt::format("{} ({})", trim(config()), threads);
}

/// Asks for huge pages under the heap's first gigabytes, before anything lies there: address space only, memory is taken when it is used. Weights
/// and activations then need a page of 2 MiB where they needed 512, which saves most misses of the address translation. No more than the heap
/// may keep at its end (M_TRIM_THRESHOLD): the rest would be handed back, and the request with it.
void prefer_huge_pages() {
  constexpr size_t kBlock = size_t{900} << 20, kBlocks = 2;
  void* blocks[kBlocks];
  for (void*& block : blocks) {
    block = std::malloc(kBlock);
    if (!block) continue;
    const auto begin = (reinterpret_cast<uintptr_t>(block) + 4095) / 4096 * 4096;
    madvise(reinterpret_cast<void*>(begin), kBlock - 4096, MADV_HUGEPAGE);
  }
  for (void* block : blocks) std::free(block);
}

const bool version_line = (add_version_line("LibTorch", TORCH_VERSION), add_version_line("BLAS", blas()), true);

}  // namespace

void set_up_runtime(int threads) {
  // glibc serves blocks above 128 KiB by mmap and returns them at once: each step would fault its memory in again.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
  prefer_huge_pages();
  set_threads(threads);
  at::set_num_threads(threads);
  const auto parallel = blas_function<Number>("openblas_get_parallel");
  if (threads > 1 && parallel && parallel() == 1) {
    // Its own pool would spin against ours. Our products do not use it; LibTorch's operators may.
    if (const auto limit = blas_function<void (*)(int)>("openblas_set_num_threads")) limit(1);
    log::debug("OpenBLAS with its own threads was limited to one; the package libopenblas0-openmp shares ours");
  }
  at::globalContext().setDeterministicAlgorithms(true, true);
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 2)
  at::globalContext().setDeterministicFillUninitializedMemory(false);
#endif
}

void limit_thread_to_itself() {
  // LibTorch sets a new thread's count at the first operator that asks for it; asked for now, it cannot undo ours later. It makes a pool anew
  // for that, which two threads must not do at a time.
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  at::get_num_threads();
  set_threads(1);
}

void share_one_heap() { mallopt(M_ARENA_MAX, 1); }

void set_precision(Precision precision) { chosen_precision = precision; }
Precision precision() { return chosen_precision; }

Precision parse_precision(const std::string& name) {
  if (name == "fp32" || (name == "auto" && !kernel::has_bfloat16())) return Precision::kFloat32;
  if (!kernel::has_bfloat16()) fail_usage("--precision bf16: this CPU has no bfloat16 arithmetic (AVX512-BF16), or ONEDNN_MAX_CPU_ISA forbids it; use fp32 or auto");
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

int64_t count_gpus() { return at::hasCUDA() ? at::detail::getCUDAHooks().getNumGPUs() : 0; }

bool is_fast(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

}  // namespace seqmill::tensor
