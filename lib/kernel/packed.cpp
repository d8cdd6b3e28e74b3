#include "kernel/packed.h"

namespace seqmill::kernel {

const PackedKernels& packed_kernels_generic();
#if defined(__x86_64__)
const PackedKernels& packed_kernels_avx2();
const PackedKernels& packed_kernels_avx512();
#endif

namespace {

const PackedKernels& choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return packed_kernels_avx512();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return packed_kernels_avx2();
#endif
  return packed_kernels_generic();
}

int64_t panel_numbers(int64_t outputs, int64_t inputs) {
  const int64_t columns = packed_kernels().columns;
  return (outputs + columns - 1) / columns * columns * inputs;
}

}  // namespace

const PackedKernels& packed_kernels() {
  static const PackedKernels& chosen = choose();
  return chosen;
}

PackedMatrix::PackedMatrix(const float* weight, int64_t outputs, int64_t inputs)
    : outputs_(outputs), inputs_(inputs), panels_(panel_numbers(outputs, inputs)) {
  packed_kernels().pack(weight, outputs, inputs, panels_.data());
}

void PackedMatrix::multiply(const float* x, int64_t rows, float* out, const Finish& finish) const {
  packed_kernels().multiply(x, rows, panels_.data(), outputs_, inputs_, finish, out);
}

void PackedMatrix::row(int64_t index, float* out) const {
  const int64_t columns = packed_kernels().columns;
  const float* panel = panels_.data() + index / columns * columns * inputs_ + index % columns;
  for (int64_t k = 0; k < inputs_; ++k) out[k] = panel[k * columns];
}

}  // namespace seqmill::kernel
