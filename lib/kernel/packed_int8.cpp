#include "kernel/packed_int8.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernel/tables.h"

namespace seqmill::kernel {
namespace {

/// Where the number of a column and an input lies in the panels.
int64_t place_of(int64_t output, int64_t input, int64_t inputs) {
  constexpr int64_t kColumns = Int8Kernels::kColumns;
  return output / kColumns * kColumns * padded_inputs(inputs) + input / 4 * 4 * kColumns + output % kColumns * 4 + input % 4;
}

}  // namespace

const Int8Kernels& int8_kernels() {
  static const Int8Kernels& chosen = *usable_int8_kernels().back();
  return chosen;
}

PackedInt8Matrix::PackedInt8Matrix(const int8_t* weight, const float* scales, int64_t outputs, int64_t inputs)
    : outputs_(outputs), inputs_(inputs), scales_(scales, scales + outputs) {
  if (inputs > kMostInt8Inputs) fail("8-bit products of {} inputs might overflow; at most {}", inputs, kMostInt8Inputs);
  constexpr int64_t kColumns = Int8Kernels::kColumns;
  panels_ = Buffer<uint8_t>((outputs + kColumns - 1) / kColumns * kColumns * padded_inputs(inputs));
  if (std::memchr(weight, 0x80, static_cast<size_t>(outputs * inputs))) fail("an 8-bit weight is -128, outside the symmetric range");
  if (inputs % 4 != 0 || outputs % kColumns != 0) std::memset(panels_.data(), 128, static_cast<size_t>(panels_.size()));  // what no number fills
  for (int64_t o = 0; o < outputs; ++o) {
    // Four inputs at a time, which lie together; 128 is added to each by turning its upper bit.
    for (int64_t k = 0; k < inputs; k += 4) {
      uint32_t four = 0;
      std::memcpy(&four, weight + o * inputs + k, static_cast<size_t>(std::min<int64_t>(4, inputs - k)));
      four ^= 0x80808080U;
      std::memcpy(panels_.data() + place_of(o, k, inputs), &four, sizeof four);
    }
    inverses_.push_back(1.0F / scales_[static_cast<size_t>(o)]);
  }
}

void PackedInt8Matrix::multiply(const Int8Rows& x, float* out, const Finish& finish) const {
  int8_kernels().multiply_real(x, panels_.data(), outputs_, inputs_, inverses_.data(), finish, out);
}

void PackedInt8Matrix::multiply(const Int8Rows& x, int32_t* out) const {
  int8_kernels().multiply(x, panels_.data(), outputs_, inputs_, out);
}

void PackedInt8Matrix::row(int64_t index, float* out) const {
  const float inverse = inverses_[static_cast<size_t>(index)];
  for (int64_t k = 0; k < inputs_; ++k) out[k] = static_cast<float>(panels_.data()[place_of(index, k, inputs_)] - 128) * inverse;
}

void PackedInt8Matrix::row(int64_t index, int8_t* out) const {
  for (int64_t k = 0; k < inputs_; ++k) out[k] = static_cast<int8_t>(panels_.data()[place_of(index, k, inputs_)] - 128);
}

Int8Rows Int8Room::quantise(const float* x, int64_t rows, int64_t inputs, int32_t limit) {
  const int64_t width = padded_inputs(inputs);
  int8_t* numbers = numbers_.room_for(rows * width);
  float* scales = scales_.room_for(rows);
  int32_t* sums = sums_.room_for(rows);
  for (int64_t r = 0; r < rows; ++r) {
    std::fill(numbers + r * width + inputs, numbers + (r + 1) * width, int8_t{0});
    scales[r] = int8_kernels().quantise(x + r * inputs, inputs, limit, numbers + r * width, sums + r);
  }
  return {numbers, scales, sums, rows};
}

}  // namespace seqmill::kernel
