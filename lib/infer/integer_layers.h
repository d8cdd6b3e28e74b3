#pragma once
// Layers of Scale Propagation (Lin et al., 2020, section 3 and eq. 13): products with weights, and normalisation.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "infer/integer_rows.h"
#include "kernel/float_kernels.h"

namespace seqmill::infer {

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
  /// The real numbers x weight^T + bias; null: no bias.
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
        out[r * outputs_ + o] = static_cast<float>(static_cast<double>(sums[static_cast<size_t>(o)]) / scale) + (bias ? bias[o] : 0);
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
  IntegerNorm(std::vector<Number> weight, Scale scale, IntegerBias bias, double epsilon = kEpsilon)
      : weight_(std::move(weight)), scale_(scale), bias_(std::move(bias)), epsilon_(static_cast<float>(epsilon)) {}

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
    const Scale whole = largest > 0 ? divisor + Scale(epsilon_ * count) * x.scale(from) : Scale::of_zeros();
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
  float epsilon_ = static_cast<float>(kEpsilon);
};

}  // namespace seqmill::infer
