#include "kernel/packed_bf16.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernel/float_kernels.h"
#include "kernel/weight_rows.h"

namespace seqmill::kernel {

#if defined(__x86_64__)
void multiply_bf16(const uint16_t* x, int64_t rows, const uint16_t* panels, int64_t outputs, int64_t inputs, const Finish& finish, float* out, int64_t stride);
#endif

namespace {

constexpr int64_t kColumns = 32;

/// Where the number of an output and an input lies in the panels.
int64_t place_of(int64_t output, int64_t input, int64_t inputs) {
  return output / kColumns * kColumns * padded_pairs(inputs) + input / 2 * 2 * kColumns + output % kColumns * 2 + input % 2;
}

/// The rows of a panel as pairs of bfloat16 numbers: where they lie, or made from others.
class PairRows {
 public:
  explicit PairRows(int64_t inputs) : inputs_(inputs) {}

  const std::vector<const void*>& find(const std::vector<WeightRows>& parts, int64_t first, int64_t count) {
    rows_.clear();
    for_each_row(parts, first, count, [&](const WeightRows& part, int64_t row) {
      const void* from = static_cast<const char*>(part.data) + row * inputs_ * size_of(part.type);
      rows_.push_back(part.type == NumberType::kBFloat16 && inputs_ % 2 == 0 ? from : rounded(from, part.type));
    });
    return rows_;
  }

 private:
  const void* rounded(const void* from, NumberType type) {
    uint16_t* to = rounded_.room_for(kColumns * padded_pairs(inputs_)) + static_cast<int64_t>(rows_.size()) * padded_pairs(inputs_);
    float* row = widened_.room_for(inputs_);
    packed_kernels().widen(from, type, inputs_, row);
    round_rows(row, 1, inputs_, to);
    return to;
  }

  int64_t inputs_;
  std::vector<const void*> rows_;
  Buffer<uint16_t> rounded_;
  Buffer<float> widened_;
};

}  // namespace

void round_rows(const float* x, int64_t rows, int64_t inputs, uint16_t* out) {
  static_assert(sizeof(BFloat16) == sizeof(uint16_t));
  const int64_t width = padded_pairs(inputs);
  for (int64_t r = 0; r < rows; ++r) {
    float_kernels().to_bfloat16(x + r * inputs, reinterpret_cast<BFloat16*>(out + r * width), inputs);
    if (width > inputs) out[r * width + inputs] = 0;
  }
}

PackedBFloat16Matrix::PackedBFloat16Matrix(const float* weight, int64_t outputs, int64_t inputs)
    : PackedBFloat16Matrix(std::vector<WeightRows>{{weight, NumberType::kFloat32, outputs}}, inputs) {}

PackedBFloat16Matrix::PackedBFloat16Matrix(const std::vector<WeightRows>& parts, int64_t inputs) : outputs_(rows_of(parts)), inputs_(inputs) {
  if (!has_bfloat16_products()) fail("this CPU has no bfloat16 products (AVX512-BF16)");
  const int64_t panel_numbers = kColumns * padded_pairs(inputs);
  panels_ = Buffer<uint16_t>(panels() * panel_numbers);
  share_panels(outputs_, kColumns, [&] {
    return [&, rows = PairRows(inputs)](int64_t panel, int64_t count) mutable {
      packed_kernels().interleave(rows.find(parts, panel * kColumns, count).data(), count, padded_pairs(inputs) / 2, kColumns,
                                  panels_.data() + panel * panel_numbers);
    };
  });
}

int64_t PackedBFloat16Matrix::panels() const { return (outputs_ + kColumns - 1) / kColumns; }

void PackedBFloat16Matrix::multiply(const float* x, int64_t rows, float* out, const Finish& finish, Buffer<uint16_t>& room) const {
  uint16_t* rounded = room.room_for(rows * padded_pairs(inputs_));
  round_rows(x, rows, inputs_, rounded);
  multiply(rounded, rows, out, finish, {0, panels()}, outputs_);
}

void PackedBFloat16Matrix::multiply([[maybe_unused]] const uint16_t* rounded, [[maybe_unused]] int64_t rows, [[maybe_unused]] float* out,
                                    [[maybe_unused]] const Finish& finish, [[maybe_unused]] PanelRange range, [[maybe_unused]] int64_t stride) const {
#if defined(__x86_64__)
  const int64_t first = range.begin * kColumns, end = std::min(outputs_, range.end * kColumns), width = padded_pairs(inputs_);
  multiply_bf16(rounded, rows, panels_.data() + first * width, end - first, width, finish.from(first), out + first, stride);
#endif
}

void PackedBFloat16Matrix::row(int64_t index, float* out) const {
  for (int64_t k = 0; k < inputs_; ++k) {
    const uint32_t bits = static_cast<uint32_t>(panels_.data()[place_of(index, k, inputs_)]) << 16;
    std::memcpy(out + k, &bits, sizeof bits);
  }
}

}  // namespace seqmill::kernel
