#include "kernel/float_kernels.h"

#include "base/version.h"

namespace seqmill::kernel {

const FloatKernels& float_kernels_generic();
#if defined(__x86_64__)
const FloatKernels& float_kernels_avx2();
const FloatKernels& float_kernels_avx512();
#endif

namespace {

const FloatKernels& choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return float_kernels_avx512();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return float_kernels_avx2();
#endif
  return float_kernels_generic();
}

const bool version_line = (add_version_line("kernels", choose().instruction_set), true);

}  // namespace

const FloatKernels& float_kernels() {
  static const FloatKernels& chosen = choose();
  return chosen;
}

}  // namespace seqmill::kernel
