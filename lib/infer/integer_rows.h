#pragma once
// Scale Propagation (Lin et al., 2020, "Towards Fully 8-bit Integer Inference for the Transformer Model", section 3): rows of integers that carry their
// scales from operation to operation. An integer x of scale s stands for x / s.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "kernel/float_kernels.h"
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

/// A vector of integers of one scale, which is added to sums.
struct IntegerBias {
  std::vector<int32_t> numbers;
  Scale scale = Scale::of_zeros();

  const int32_t* data() const { return scale.is_of_zeros() ? nullptr : numbers.data(); }
};

/// A weight [outputs, inputs] of integers with a scale for each output.
template <typename Number>
class IntegerMatrix;

template <>
class IntegerMatrix<int8_t> {
 public:
  IntegerMatrix() = default;
  IntegerMatrix(const int8_t* weight, std::vector<float> scales, int64_t outputs, int64_t inputs) : packed_(weight, scales.data(), outputs, inputs), scales_(std::move(scales)) {}

  int64_t outputs() const { return packed_.outputs(); }
  int64_t inputs() const { return packed_.inputs(); }
  const std::vector<float>& scales() const { return scales_; }
  void multiply(const IntegerRows<int8_t>& x, int64_t first, int64_t count, int32_t* out) const {
    packed_.multiply({x.row(first), nullptr, x.sums(first), count}, out);
  }
  /// The real numbers x weight^T + bias.
  void multiply_real(const IntegerRows<int8_t>& x, int64_t first, int64_t count, const float* bias, Buffer<float>& room, float* out) const {
    float* scales = room.room_for(count);
    for (int64_t r = 0; r < count; ++r) scales[r] = x.scale(first + r).value();
    packed_.multiply({x.row(first), scales, x.sums(first), count}, out, {bias, false, nullptr});
  }
  void row(int64_t index, int8_t* out) const { packed_.row(index, out); }

 private:
  kernel::PackedInt8Matrix packed_;
  std::vector<float> scales_;
};

template <>
class IntegerMatrix<int16_t> {
 public:
  IntegerMatrix() = default;
  IntegerMatrix(const int16_t* weight, std::vector<float> scales, int64_t outputs, int64_t inputs)
      : outputs_(outputs), inputs_(inputs), weight_(weight, weight + outputs * inputs), scales_(std::move(scales)) {}

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  const std::vector<float>& scales() const { return scales_; }
  void multiply(const IntegerRows<int16_t>& x, int64_t first, int64_t count, int64_t* out) const {
    kernel::integer_kernels<int16_t>().multiply(x.row(first), count, x.stride(), weight_.data(), outputs_, inputs_, out);
  }
  void multiply_real(const IntegerRows<int16_t>& x, int64_t first, int64_t count, const float* bias, Buffer<float>&, float* out) const {
    std::vector<int64_t> sums(static_cast<size_t>(outputs_));
    for (int64_t r = 0; r < count; ++r) {
      multiply(x, first + r, 1, sums.data());
      for (int64_t o = 0; o < outputs_; ++o) {
        const double scale = static_cast<double>(x.scale(first + r).value()) * static_cast<double>(scales_[static_cast<size_t>(o)]);
        out[r * outputs_ + o] = static_cast<float>(static_cast<double>(sums[static_cast<size_t>(o)]) / scale) + bias[o];
      }
    }
  }
  void row(int64_t index, int16_t* out) const { std::copy_n(weight_.data() + index * inputs_, inputs_, out); }

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  std::vector<int16_t> weight_;
  std::vector<float> scales_;
};

/// x weight^T + bias. Sums of different outputs are matched, so that a row of the result has one scale.
template <typename Number>
class IntegerLinear {
 public:
  IntegerLinear() = default;
  IntegerLinear(IntegerMatrix<Number> matrix, IntegerBias bias) : matrix_(std::move(matrix)), bias_(std::move(bias)) {
    const std::vector<float>& scales = matrix_.scales();
    common_ = scales.empty() ? Scale() : Scale(*std::min_element(scales.begin(), scales.end()));
    if (std::all_of(scales.begin(), scales.end(), [&](float scale) { return scale == common_.value(); })) return;
    for (const float scale : scales) ratios_.push_back(kernel::matching_ratio(common_, Scale(scale)));
  }

  int64_t outputs() const { return matrix_.outputs(); }

  /// `z` becomes the sums of rows first .. first + count - 1 of x.
  void operator()(const IntegerRows<Number>& x, int64_t first, int64_t count, const Requantising& how, bool relu, SumRows<Number>& z) const {
    z.resize(count, outputs());
    matrix_.multiply(x, first, count, z.row(0));
    for (int64_t r = 0; r < count; ++r) {
      const Scale own = x.scale(first + r) * common_, common = smaller(own, bias_.scale);
      z.largest(r) = kernel::integer_kernels<Number>().finish(z.row(r), outputs(), ratios_.empty() ? nullptr : ratios_.data(), how.matching(common, own),
                                                              bias_.data(), how.matching(common, bias_.scale), relu);
      z.scale(r) = z.largest(r) > 0 ? common : Scale::of_zeros();
    }
  }

 private:
  IntegerMatrix<Number> matrix_;
  IntegerBias bias_;
  Scale common_;
  std::vector<uint32_t> ratios_;  ///< of the common scale to those of the outputs; none when all are equal
};

/// Normalisation by the mean deviation (eq. 13), without a division of integers: y = weight (x - mean) / (sqrt(pi / 2) mean |x - mean| + epsilon) + bias.
template <typename Number>
class IntegerNorm {
 public:
  using Sum = SumOf<Number>;
  static constexpr double kEpsilon = 1e-5;

  IntegerNorm() = default;
  IntegerNorm(std::vector<Number> weight, Scale scale, IntegerBias bias) : weight_(std::move(weight)), scale_(scale), bias_(std::move(bias)) {}

  /// Row `from` of x -> row `to` of z, which is as wide.
  void operator()(const IntegerRows<Number>& x, int64_t from, int64_t limit, const Requantising& how, IntegerRows<Number>& room, SumRows<Number>& z,
                  int64_t to) const {
    const auto& kernels = kernel::integer_kernels<Number>();
    const int64_t width = x.width();
    const auto count = static_cast<float>(width);
    Sum deviation = 0;
    const Sum largest = kernels.centre(x.row(from), width, z.row(to), &deviation);
    // The deviations u = width * x - sum stand for u / (width * scale), and what they are divided by for deviation / (width^2 * scale): the first scale goes out.
    const Scale divisor = Scale(static_cast<float>(kernel::kDeviationOfMeanDeviation) / count) * Scale(static_cast<float>(deviation));
    const Scale whole = largest > 0 ? divisor + Scale(static_cast<float>(kEpsilon) * count) * x.scale(from) : Scale::of_zeros();
    const kernel::Rescaled normed = how(largest, limit, whole);
    room.resize(1, width);
    room.set(0, z.row(to), normed.factor, normed.scale);
    kernels.product(room.row(0), weight_.data(), z.row(to), width);
    const Scale own = normed.scale * scale_, common = smaller(own, bias_.scale);
    z.largest(to) = kernels.finish(z.row(to), width, nullptr, how.matching(common, own), bias_.data(), how.matching(common, bias_.scale), false);
    z.scale(to) = z.largest(to) > 0 ? common : Scale::of_zeros();
  }

 private:
  std::vector<Number> weight_;
  Scale scale_;
  IntegerBias bias_;
};

/// A number of its own scale, to be added to rows.
template <typename Number>
struct IntegerConstant {
  SumOf<Number> number = 0;
  Scale scale = Scale::of_zeros();

  IntegerConstant() = default;
  IntegerConstant(float real, int64_t limit) {
    const float size = static_cast<float>(limit) / std::fabs(real);
    if (real == 0 || !std::isfinite(size)) return;
    number = static_cast<SumOf<Number>>(real < 0 ? -limit : limit);
    scale = Scale(size);
  }

  SumOf<Number> at(Scale common, const Requantising& how) const {
    SumOf<Number> matched = number;
    kernel::integer_kernels<Number>().finish(&matched, 1, nullptr, how.matching(common, scale), nullptr, {}, false);
    return matched;
  }
};

/// The scales of the keys and values of a query, matched.
template <typename Number>
struct KeyScales {
  std::vector<Scale> keys, values;                      ///< [groups]: common to all keys, or values
  std::vector<uint32_t> key_ratios, value_ratios;       ///< [groups, count]

  /// scales[t]: those of key t [2 * groups], first of the key, then of its value.
  void match(const Scale* const* scales, int64_t count, int64_t groups) {
    keys.clear();
    values.clear();
    key_ratios.clear();
    value_ratios.clear();
    for (int64_t part = 0; part < 2; ++part) {
      std::vector<uint32_t>& ratios = part == 0 ? key_ratios : value_ratios;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t at = part * groups + g;
        Scale common = Scale::of_zeros();
        for (int64_t t = 0; t < count; ++t) common = smaller(common, scales[t][at]);
        (part == 0 ? keys : values).push_back(common);
        for (int64_t t = 0; t < count; ++t) ratios.push_back(kernel::matching_ratio(common, scales[t][at]));
      }
    }
  }
};

/// Attention by a polynomial (eqs. 11 and 12) of one query, head by head.
template <typename Number>
class IntegerAttention {
 public:
  using Sum = SumOf<Number>;

  struct Head {
    IntegerConstant<Number> bias, delta;
    int degree = 3;
  };

  /// q [heads * dim] with its scales [groups], keys[t] [2 * heads * dim]: a key and its value. `out` [heads * dim] has one scale, which is returned with the
  /// largest magnitude in *largest.
  Scale operator()(const std::vector<Head>& heads, const Number* q, const Scale* q_scales, const Number* const* keys, const KeyScales<Number>& scales,
                   int64_t count, int64_t dim, int64_t limit, const Requantising& how, Sum* out, Sum* largest) {
    const auto& kernels = kernel::integer_kernels<Number>();
    const auto heads_count = static_cast<int64_t>(heads.size());
    const bool by_head = how.granularity == Granularity::kHead;
    const int64_t width = heads_count * dim;
    Sum* z = scores_.room_for(count);
    Number *x = x_.room_for(count), *y = y_.room_for(count);
    head_scales_.assign(heads.size(), Scale::of_zeros());
    const Scale root(std::sqrt(static_cast<float>(dim)));
    for (int64_t h = 0; h < heads_count; ++h) {
      const Head& head = heads[static_cast<size_t>(h)];
      const int64_t g = by_head ? h : 0;
      const uint32_t *key_ratios = scales.key_ratios.data() + g * count, *value_ratios = scales.value_ratios.data() + g * count;
      kernels.dots(q + h * dim, keys, count, h * dim, dim, z);
      Sum most = kernels.finish(z, count, key_ratios, rounded_one(how), nullptr, {}, false);
      kernel::Rescaled now = how(most, limit, q_scales[g] * scales.keys[static_cast<size_t>(g)] * root);
      rescale(z, count, now.factor);
      // max(0, x + b)
      Scale common = smaller(now.scale, head.bias.scale);
      rescale(z, count, how.matching(common, now.scale));
      most = kernels.add_constant(z, head.bias.at(common, how), true, count);
      now = how(most, limit, common);
      kernels.narrow(z, now.factor, x, count);
      Scale power = now.scale;
      std::copy_n(x, count, y);
      for (int n = 1; n < head.degree; ++n) {
        most = kernels.product(x, y, z, count);
        const kernel::Rescaled raised = how(most, limit, power * now.scale);
        kernels.narrow(z, raised.factor, y, count);
        power = raised.scale;
      }
      // + |delta|
      common = smaller(power, head.delta.scale);
      std::copy_n(y, count, z);
      rescale(z, count, how.matching(common, power));
      most = kernels.add_constant(z, head.delta.at(common, how), false, count);
      rescale(z, count, how(most, limit, common).factor);
      // The sum is divided by in the scale: what the weights were scaled by goes out.
      const Sum sum = kernels.narrow(z, Multiplier{}, x, count);
      kernels.finish(z, count, value_ratios, rounded_one(how), nullptr, {}, false);
      kernels.narrow(z, Multiplier{}, x, count);
      kernels.weighted_sum(x, keys, count, width + h * dim, dim, out + h * dim);
      if (sum > 0) head_scales_[static_cast<size_t>(h)] = Scale(static_cast<float>(sum)) * scales.values[static_cast<size_t>(g)];
    }
    Scale common = Scale::of_zeros();
    for (int64_t h = 0; h < heads_count; ++h) {
      Scale& own = head_scales_[static_cast<size_t>(h)];
      if (by_head) {
        const Sum most = kernels.finish(out + h * dim, dim, nullptr, {}, nullptr, {}, false);
        const kernel::Rescaled rescaled = how(most, limit, own);
        rescale(out + h * dim, dim, rescaled.factor);
        own = rescaled.scale;
      }
      common = smaller(common, own);
    }
    *largest = 0;
    for (int64_t h = 0; h < heads_count; ++h) {
      const Multiplier factor = how.matching(common, head_scales_[static_cast<size_t>(h)]);
      *largest = std::max(*largest, kernels.finish(out + h * dim, dim, nullptr, factor, nullptr, {}, false));
    }
    return *largest > 0 ? common : Scale::of_zeros();
  }

 private:
  /// Says how ratios are to be rounded.
  static Multiplier rounded_one(const Requantising& how) { return how.matching(Scale(), Scale()); }
  static void rescale(Sum* z, int64_t count, Multiplier factor) {
    if (!factor.is_one()) kernel::integer_kernels<Number>().finish(z, count, nullptr, factor, nullptr, {}, false);
  }

  Buffer<Sum> scores_;
  Buffer<Number> x_, y_;
  std::vector<Scale> head_scales_;
};

}  // namespace seqmill::infer
