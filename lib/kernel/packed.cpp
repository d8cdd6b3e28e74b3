#include "kernel/packed.h"

#include "kernel/tables.h"

namespace seqmill::kernel {
namespace {

int64_t panel_numbers(int64_t outputs, int64_t inputs) {
  const int64_t columns = packed_kernels().columns;
  return (outputs + columns - 1) / columns * columns * inputs;
}

}  // namespace

const PackedKernels& packed_kernels() {
  static const PackedKernels& chosen = *usable_packed_kernels().back();
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
