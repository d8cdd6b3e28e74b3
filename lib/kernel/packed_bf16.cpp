#include "kernel/packed_bf16.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernel/float_kernels.h"

namespace seqmill::kernel {

#if defined(__x86_64__)
void multiply_bf16(const uint16_t* x, int64_t rows, const uint16_t* panels, int64_t outputs, int64_t inputs, const Finish& finish, float* out);
#endif

namespace {

constexpr int64_t kColumns = 32;

int64_t padded(int64_t inputs) { return (inputs + 1) / 2 * 2; }

/// Where the number of an output and an input lies in the panels.
int64_t place_of(int64_t output, int64_t input, int64_t inputs) {
  return output / kColumns * kColumns * padded(inputs) + input / 2 * 2 * kColumns + output % kColumns * 2 + input % 2;
}

/// Rows with a zero behind them where their number is odd.
void round_rows(const float* x, int64_t rows, int64_t inputs, uint16_t* out) {
  static_assert(sizeof(BFloat16) == sizeof(uint16_t));
  const int64_t width = padded(inputs);
  for (int64_t r = 0; r < rows; ++r) {
    float_kernels().to_bfloat16(x + r * inputs, reinterpret_cast<BFloat16*>(out + r * width), inputs);
    if (width > inputs) out[r * width + inputs] = 0;
  }
}

}  // namespace

PackedBFloat16Matrix::PackedBFloat16Matrix(const float* weight, int64_t outputs, int64_t inputs)
    : outputs_(outputs), inputs_(inputs), panels_((outputs + kColumns - 1) / kColumns * kColumns * padded(inputs)) {
  if (!has_bfloat16_products()) fail("this CPU has no bfloat16 products (AVX512-BF16)");
  std::memset(panels_.data(), 0, static_cast<size_t>(bytes()));
  Buffer<uint16_t> rounded(padded(inputs));
  for (int64_t o = 0; o < outputs; ++o) {
    round_rows(weight + o * inputs, 1, inputs, rounded.data());
    for (int64_t k = 0; k < inputs; k += 2) std::memcpy(panels_.data() + place_of(o, k, inputs), rounded.data() + k, 2 * sizeof(uint16_t));
  }
}

void PackedBFloat16Matrix::multiply([[maybe_unused]] const float* x, [[maybe_unused]] int64_t rows, [[maybe_unused]] float* out,
                                    [[maybe_unused]] const Finish& finish, [[maybe_unused]] Buffer<uint16_t>& room) const {
#if defined(__x86_64__)
  uint16_t* rounded = room.room_for(rows * padded(inputs_));
  round_rows(x, rows, inputs_, rounded);
  multiply_bf16(rounded, rows, panels_.data(), outputs_, padded(inputs_), finish, out);
#endif
}

void PackedBFloat16Matrix::row(int64_t index, float* out) const {
  for (int64_t k = 0; k < inputs_; ++k) {
    const uint32_t bits = static_cast<uint32_t>(panels_.data()[place_of(index, k, inputs_)]) << 16;
    std::memcpy(out + k, &bits, sizeof bits);
  }
}

}  // namespace seqmill::kernel
