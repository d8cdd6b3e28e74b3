#include "kernel/packed.h"

#include <cstdlib>
#include <new>

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

void PackedMatrix::Free::operator()(float* panels) const { std::free(panels); }

PackedMatrix::PackedMatrix(const float* weight, int64_t outputs, int64_t inputs) : outputs_(outputs), inputs_(inputs) {
  constexpr size_t kLine = 64;
  const size_t size = (static_cast<size_t>(panel_numbers(outputs, inputs)) * sizeof(float) + kLine - 1) / kLine * kLine;
  panels_.reset(static_cast<float*>(std::aligned_alloc(kLine, size)));
  if (!panels_) throw std::bad_alloc();
  packed_kernels().pack(weight, outputs, inputs, panels_.get());
}

int64_t PackedMatrix::bytes() const { return panel_numbers(outputs_, inputs_) * static_cast<int64_t>(sizeof(float)); }

void PackedMatrix::multiply(const float* x, int64_t rows, float* out, const Finish& finish) const {
  packed_kernels().multiply(x, rows, panels_.get(), outputs_, inputs_, finish, out);
}

void PackedMatrix::row(int64_t index, float* out) const {
  const int64_t columns = packed_kernels().columns;
  const float* panel = panels_.get() + index / columns * columns * inputs_ + index % columns;
  for (int64_t k = 0; k < inputs_; ++k) out[k] = panel[k * columns];
}

}  // namespace seqmill::kernel
