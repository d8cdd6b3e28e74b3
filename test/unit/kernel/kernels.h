#pragma once
// The kernels of every instruction set that this CPU has, and numbers to feed them.

#include <vector>

#include "base/rng.h"
#include "kernel/tables.h"

namespace seqmill::test {

inline std::vector<const kernel::FloatKernels*> available_kernels() { return kernel::usable_float_kernels(); }

inline std::vector<float> normals(int64_t count, uint64_t seed, double scale = 1) {
  Rng rng(seed, "test");
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(scale * rng.normal());
  return values;
}

}  // namespace seqmill::test
