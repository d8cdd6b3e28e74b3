#pragma once
// Scale Propagation (Lin et al., 2020, "Towards Fully 8-bit Integer Inference for the Transformer Model", section 3): rows of integers that carry their
// scales from operation to operation. An integer x of scale s stands for x / s.

#include <algorithm>
#include <cstdint>

#include "base/buffer.h"
#include "kernel/integers.h"
#include "kernel/packed_int8.h"

namespace seqmill::infer {

using kernel::Multiplier;
using kernel::Scale;
using kernel::SumOf;

/// Whose numbers share a scale, and with it the largest number that it is made from.
enum class Granularity {
  kSentence,  ///< all rows of a sentence that are computed together
  kRow,
  kHead       ///< a row's part that belongs to an attention head, where there are heads
};

/// How sums become integers of few bits again.
struct Requantising {
  Granularity granularity = Granularity::kRow;
  kernel::Rescaling rescaling = kernel::Rescaling::kMax;
  kernel::Rounding rounding = kernel::Rounding::kNearest;

  kernel::Rescaled operator()(int64_t largest, int64_t limit, Scale scale) const { return kernel::rescaled(largest, limit, scale, rescaling, rounding); }
  Multiplier matching(Scale common, Scale own) const { return kernel::matching(common, own, rounding); }
};

/// Rows that keep their memory. Rows are as long as 8-bit products want them, with zeros behind their numbers.
template <typename Number>
class IntegerRows {
 public:
  void resize(int64_t rows, int64_t width) {
    rows_ = rows;
    width_ = width;
    stride_ = kernel::padded_inputs(width);
    numbers_.room_for(rows * stride_);
    scales_.room_for(rows);
    sums_.room_for(rows);
  }

  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  int64_t stride() const { return stride_; }
  const Number* row(int64_t r) const { return numbers_.data() + r * stride_; }
  Scale scale(int64_t r) const { return scales_.data()[r]; }
  const int32_t* sums(int64_t r) const { return sums_.data() + r; }

  /// The row becomes the sums times the factor.
  void set(int64_t r, const SumOf<Number>* z, Multiplier factor, Scale scale) {
    Number* to = numbers_.data() + r * stride_;
    sums_.data()[r] = static_cast<int32_t>(kernel::integer_kernels<Number>().narrow(z, factor, to, width_));
    std::fill(to + width_, to + stride_, Number{0});
    scales_.data()[r] = scale;
  }

  /// Row `to` becomes what row `from` is.
  void move(int64_t from, int64_t to) {
    std::copy_n(numbers_.data() + from * stride_, from == to ? 0 : stride_, numbers_.data() + to * stride_);
    scales_.data()[to] = scales_.data()[from];
    sums_.data()[to] = sums_.data()[from];
  }

 private:
  int64_t rows_ = 0, width_ = 0, stride_ = 0;
  Buffer<Number> numbers_;
  Buffer<Scale> scales_;
  Buffer<int32_t> sums_;
};

/// Rows of sums, each with its scale and its largest magnitude.
template <typename Number>
class SumRows {
 public:
  using Sum = SumOf<Number>;

  void resize(int64_t rows, int64_t width) {
    rows_ = rows;
    width_ = width;
    numbers_.room_for(rows * width);
    scales_.room_for(rows);
    largest_.room_for(rows);
  }
  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  Sum* row(int64_t r) { return numbers_.data() + r * width_; }
  Scale& scale(int64_t r) { return scales_.data()[r]; }
  Sum& largest(int64_t r) { return largest_.data()[r]; }

  /// Matches the row with others of the scale `common`.
  void match(int64_t r, Scale common, const Requantising& how) {
    largest(r) = kernel::integer_kernels<Number>().finish(row(r), width_, nullptr, how.matching(common, scale(r)), nullptr, {}, false);
    if (largest(r) > 0) scale(r) = common;
  }

 private:
  int64_t rows_ = 0, width_ = 0;
  Buffer<Sum> numbers_;
  Buffer<Scale> scales_;
  Buffer<Sum> largest_;
};

/// Rows z -> rows first, first + 1, ... of `out`, of at most `limit` (eq. 10). `one_scale`: for all of them together.
template <typename Number>
void requantise(SumRows<Number>& z, int64_t limit, const Requantising& how, bool one_scale, IntegerRows<Number>& out, int64_t first = 0) {
  if (one_scale && z.rows() > 1) {
    Scale common = z.scale(0);
    for (int64_t r = 1; r < z.rows(); ++r) common = smaller(common, z.scale(r));
    SumOf<Number> largest = 0;
    for (int64_t r = 0; r < z.rows(); ++r) {
      z.match(r, common, how);
      largest = std::max(largest, z.largest(r));
    }
    const kernel::Rescaled all = how(largest, limit, common);
    for (int64_t r = 0; r < z.rows(); ++r) out.set(first + r, z.row(r), all.factor, z.largest(r) > 0 ? all.scale : Scale::of_zeros());
    return;
  }
  for (int64_t r = 0; r < z.rows(); ++r) {
    const kernel::Rescaled own = how(z.largest(r), limit, z.scale(r));
    out.set(first + r, z.row(r), own.factor, own.scale);
  }
}

/// Real numbers -> integers of at most `limit`, half away from zero, and their scale. Zeros stay zeros.
template <typename Number>
Scale quantise_row(const float* x, int64_t count, int64_t limit, Number* out) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float scale = static_cast<float>(limit) / largest;
  const bool zeros = !(largest > 0) || !std::isfinite(scale);
  for (int64_t i = 0; i < count; ++i) out[i] = zeros ? Number{0} : static_cast<Number>(std::clamp<float>(std::round(x[i] * scale), -static_cast<float>(limit), static_cast<float>(limit)));
  return zeros ? Scale::of_zeros() : Scale(scale);
}

}  // namespace seqmill::infer
