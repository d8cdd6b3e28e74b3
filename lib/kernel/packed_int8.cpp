#include "kernel/packed_int8.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernel/tables.h"
#include "kernel/weight_rows.h"

namespace seqmill::kernel {
namespace {

constexpr int64_t kColumns = Int8Kernels::kColumns;

/// Where the number of a column and an input lies in the panels.
int64_t place_of(int64_t output, int64_t input, int64_t inputs) {
  return output / kColumns * kColumns * padded_inputs(inputs) + input / 4 * 4 * kColumns + output % kColumns * 4 + input % 4;
}

}  // namespace

const Int8Kernels& int8_kernels() {
  static const Int8Kernels& chosen = *usable_int8_kernels().back();
  return chosen;
}

PackedInt8Matrix::PackedInt8Matrix(const int8_t* weight, const float* scales, int64_t outputs, int64_t inputs)
    : PackedInt8Matrix(std::vector<Int8WeightRows>{{weight, scales, outputs}}, inputs) {}

PackedInt8Matrix::PackedInt8Matrix(const std::vector<Int8WeightRows>& parts, int64_t inputs) : outputs_(rows_of(parts)), inputs_(inputs) {
  if (inputs > kMostInt8Inputs) fail("8-bit products of {} inputs might overflow; at most {}", inputs, kMostInt8Inputs);
  for (const Int8WeightRows& part : parts) scales_.insert(scales_.end(), part.scales, part.scales + part.rows);
  for (const float scale : scales_) inverses_.push_back(1.0F / scale);
  const int64_t width = padded_inputs(inputs), panel_numbers = kColumns * width;
  panels_ = Buffer<uint8_t>(panels() * panel_numbers);
  share_panels(outputs_, kColumns, [&] {
    return [&, padded = Buffer<int8_t>(), rows = std::vector<const void*>()](int64_t panel, int64_t count) mutable {
      rows.clear();
      for_each_row(parts, panel * kColumns, count, [&](const Int8WeightRows& part, int64_t row) {
        const int8_t* from = part.data + row * inputs;
        if (std::memchr(from, 0x80, static_cast<size_t>(inputs))) fail("an 8-bit weight is -128, outside the symmetric range");
        if (width > inputs) {
          int8_t* to = padded.room_for(panel_numbers) + static_cast<int64_t>(rows.size()) * width;
          std::memset(to + inputs, 0, static_cast<size_t>(width - inputs));
          std::memcpy(to, from, static_cast<size_t>(inputs));
          from = to;
        }
        rows.push_back(from);
      });
      uint8_t* to = panels_.data() + panel * panel_numbers;
      packed_kernels().interleave(rows.data(), count, width / 4, kColumns, to);
      for (int64_t k = 0; k < panel_numbers; ++k) to[k] ^= 0x80U;  // 128 is added by turning the upper bit
    };
  });
}

int64_t PackedInt8Matrix::panels() const { return (outputs_ + kColumns - 1) / kColumns; }

void PackedInt8Matrix::multiply(const Int8Rows& x, float* out, const Finish& finish, PanelRange range, int64_t stride) const {
  const int64_t first = range.begin * kColumns, end = std::min(outputs_, range.end * kColumns);
  int8_kernels().multiply_real(x, panels_.data() + first * padded_inputs(inputs_), end - first, inputs_, inverses_.data() + first, finish.from(first),
                               out + first, stride);
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

Int8Rows Int8Room::quantise_shared(const float* x, int64_t rows, int64_t inputs, int64_t grain, int32_t limit) {
  const int64_t width = padded_inputs(inputs);
  int8_t* numbers = numbers_.room_for(rows * width);
  float* scales = scales_.room_for(rows);
  int32_t* sums = sums_.room_for(rows);
  const auto quantise_rows = [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::fill(numbers + r * width + inputs, numbers + (r + 1) * width, int8_t{0});
      scales[r] = int8_kernels().quantise(x + r * inputs, inputs, limit, numbers + r * width, sums + r);
    }
  };
  if (grain < rows) {
    parallel_for(rows, grain, quantise_rows);
  } else {
    quantise_rows(0, rows);
  }
  return {numbers, scales, sums, rows};
}

}  // namespace seqmill::kernel
