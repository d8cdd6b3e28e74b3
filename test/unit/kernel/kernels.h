#pragma once
// The kernels of every instruction set that this CPU has, and numbers to feed them.

#include <vector>

#include "base/rng.h"
#include "kernel/float_kernels.h"

namespace seqmill::kernel {
const FloatKernels& float_kernels_generic();
#if defined(__x86_64__)
const FloatKernels& float_kernels_avx2();
const FloatKernels& float_kernels_avx512();
#endif
}  // namespace seqmill::kernel

namespace seqmill::test {

inline std::vector<const kernel::FloatKernels*> available_kernels() {
  std::vector<const kernel::FloatKernels*> tables{&kernel::float_kernels_generic()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) tables.push_back(&kernel::float_kernels_avx2());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    tables.push_back(&kernel::float_kernels_avx512());
  }
#endif
  return tables;
}

inline std::vector<float> normals(int64_t count, uint64_t seed, double scale = 1) {
  Rng rng(seed, "test");
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(scale * rng.normal());
  return values;
}

}  // namespace seqmill::test
