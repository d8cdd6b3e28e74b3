#pragma once
// Reading the weights of models of mode scale-propagation.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "infer/integer_attention.h"
#include "infer/integer_layers.h"
#include "infer/integer_settings.h"
#include "infer/weights.h"

namespace seqmill::infer {

/// Reads what belongs to the model's integers, of 8 or 16 bits. Matrices stay empty where weights are only checked.
template <typename Number>
class IntegerReader {
 public:
  IntegerReader(Weights& weights, const IntegerSettings& settings) : weights_(weights), settings_(settings) {}

  const IntegerSettings& settings() const { return settings_; }

  /// Throws Error for rows whose deviations, |width * x - sum| summed over a row, may not fit.
  static void check_width(int64_t dim) {
    constexpr int64_t kWidest = 4096;
    if (sizeof(Number) == 1 && dim > kWidest) fail("rows of {} integers are too long to be normalised in 32 bits; at most {}", dim, kWidest);
  }

  /// A copy; nothing if they do not fit.
  std::vector<Number> numbers(const std::string& name, const std::vector<int64_t>& shape, std::vector<float>& scales, int64_t scale_count) {
    ScaledIntegers found = take(name, shape, scale_count);
    scales = std::move(found.scales);
    if (!found.data) return {};
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    return found.dtype == io::DType::kI8 ? copy<Number, int8_t>(found.data, count) : copy<Number, int16_t>(found.data, count);
  }

  IntegerMatrix<Number> matrix(const std::string& name, int64_t outputs, int64_t inputs) {
    if (inputs > kernel::kMostInt8Inputs) fail("{}: sums of {} products might overflow; at most {}", name, inputs, kernel::kMostInt8Inputs);
    if constexpr (sizeof(Number) == 1) {
      ScaledIntegers found = take(name, {outputs, inputs}, outputs);
      if (!found.data || !weights_.lays_out()) return {};
      return IntegerMatrix<int8_t>(static_cast<const int8_t*>(found.data), std::move(found.scales), outputs, inputs);
    } else {
      std::vector<float> scales;
      const std::vector<Number> weight = numbers(name, {outputs, inputs}, scales, outputs);
      return weight.empty() ? IntegerMatrix<Number>() : IntegerMatrix<Number>(weight.data(), std::move(scales), outputs, inputs);
    }
  }

  IntegerBias bias(const std::string& name, int64_t size) {
    const ScaledIntegers found = weights_.take_integers(name, {io::DType::kI32}, {size}, 1, kLargestBias);
    if (!found.data) return {};
    IntegerBias bias;
    bias.numbers = copy<int32_t, int32_t>(found.data, size);
    if (std::any_of(bias.numbers.begin(), bias.numbers.end(), [](int32_t number) { return number != 0; })) bias.scale = Scale(found.scales[0]);
    return bias;
  }

  IntegerLinear<Number> linear(const std::string& name, int64_t inputs, int64_t outputs, bool has_bias = true) {
    IntegerMatrix<Number> weight = matrix(name + ".weight", outputs, inputs);
    return IntegerLinear<Number>(std::move(weight), has_bias ? bias(name + ".bias", outputs) : IntegerBias());
  }

  IntegerNorm<Number> norm(const std::string& name, int64_t dim, double epsilon = IntegerNorm<Number>::kEpsilon) {
    std::vector<float> scales;
    std::vector<Number> weight = numbers(name + ".weight", {dim}, scales, 1);
    IntegerBias shift = bias(name + ".bias", dim);
    return weight.empty() ? IntegerNorm<Number>() : IntegerNorm<Number>(std::move(weight), Scale(scales[0]), std::move(shift), epsilon);
  }

  /// The polynomials of an attention's heads, as integers of at most `limit`.
  std::vector<typename IntegerAttention<Number>::Head> heads(const std::string& name, int64_t count, int64_t degree, int64_t limit) {
    const std::vector<float> bias = weights_.take_vector(name + ".polynomial.bias", count), delta = weights_.take_vector(name + ".polynomial.delta", count);
    std::vector<typename IntegerAttention<Number>::Head> heads;
    for (size_t h = 0; h < std::min(bias.size(), delta.size()); ++h) {
      if (!std::isfinite(bias[h]) || !std::isfinite(delta[h])) fail("{}.polynomial: bias {} and delta {} of head {}, which must be finite", name, bias[h], delta[h], h);
      heads.push_back({IntegerConstant<Number>(bias[h], limit), IntegerConstant<Number>(std::fabs(delta[h]), limit), static_cast<int>(degree)});
    }
    return heads;
  }

  std::vector<float> real_vector(const std::string& name, int64_t size) { return weights_.take_vector(name, size); }

 private:
  ScaledIntegers take(const std::string& name, const std::vector<int64_t>& shape, int64_t scale_count) {
    std::vector<io::DType> types{io::DType::kI8};
    if (sizeof(Number) > 1) types.push_back(io::DType::kI16);
    return weights_.take_integers(name, types, shape, scale_count, std::numeric_limits<Number>::max());
  }

  template <typename To, typename From>
  static std::vector<To> copy(const void* data, int64_t count) {
    std::vector<From> from(static_cast<size_t>(count));
    std::memcpy(from.data(), data, from.size() * sizeof(From));
    return std::vector<To>(from.begin(), from.end());
  }

  Weights& weights_;
  const IntegerSettings& settings_;
};

/// A norm with the limits of what goes in and out of a sub-layer.
template <typename Number>
struct IntegerSubLayer {
  IntegerSubLayer(IntegerReader<Number>& reader, const std::string& name, IntegerNorm<Number> norm)
      : norm(std::move(norm)), limit(reader.settings().limit_of(name)), norm_limit(limit), residual_limit(limit) {}
  IntegerNorm<Number> norm;
  int64_t limit, norm_limit, residual_limit;
};

}  // namespace seqmill::infer
