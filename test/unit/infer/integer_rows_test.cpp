// The rules of Scale Propagation on rows. Numbers of tests are those of the properties that a reimplementation of the paper must have.
#include "infer/integer_attention.h"
#include "infer/integer_layers.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"

using namespace seqmill;
using namespace seqmill::infer;

namespace {

std::vector<float> normals(int64_t count, uint64_t seed, double scale = 1) {
  Rng rng(seed, "test");
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(scale * rng.normal()));
  return values;
}

template <typename Number>
constexpr int64_t kLimit = std::numeric_limits<Number>::max();

/// Real rows as integers.
template <typename Number>
IntegerRows<Number> rows_of(const std::vector<float>& x, int64_t width, int64_t limit = kLimit<Number>) {
  const auto count = static_cast<int64_t>(x.size()) / width;
  IntegerRows<Number> rows;
  rows.resize(count, width);
  std::vector<Number> numbers(static_cast<size_t>(width));
  for (int64_t r = 0; r < count; ++r) {
    const Scale scale = quantise_row(x.data() + r * width, width, limit, numbers.data());
    const std::vector<SumOf<Number>> z(numbers.begin(), numbers.end());
    rows.set(r, z.data(), Multiplier{}, scale);
  }
  return rows;
}

/// Integers as they are, of one scale.
template <typename Number>
IntegerRows<Number> rows_of_integers(const std::vector<int64_t>& x, int64_t width, float scale) {
  IntegerRows<Number> rows;
  rows.resize(static_cast<int64_t>(x.size()) / width, width);
  const std::vector<SumOf<Number>> z(x.begin(), x.end());
  for (int64_t r = 0; r < rows.rows(); ++r) rows.set(r, z.data() + r * width, Multiplier{}, Scale(scale));
  return rows;
}

template <typename Number>
double real(const IntegerRows<Number>& rows, int64_t r, int64_t i) {
  return static_cast<double>(rows.row(r)[i]) / static_cast<double>(rows.scale(r).value());
}

/// A weight of integers and the real numbers that they stand for.
template <typename Number>
struct Weight {
  Weight(int64_t outputs, int64_t inputs, uint64_t seed, bool one_scale) : outputs(outputs), inputs(inputs) {
    const std::vector<float> weight = normals(outputs * inputs, seed, 0.3);
    numbers.resize(weight.size());
    for (int64_t o = 0; o < outputs; ++o) {
      std::vector<float> row(weight.begin() + o * inputs, weight.begin() + (o + 1) * inputs);
      if (one_scale) row.push_back(2);  // the largest number of all
      std::vector<Number> integers(row.size());
      scales.push_back(quantise_row(row.data(), static_cast<int64_t>(row.size()), kLimit<Number>, integers.data()).value());
      std::copy_n(integers.begin(), inputs, numbers.begin() + o * inputs);
    }
  }
  IntegerMatrix<Number> matrix() const { return IntegerMatrix<Number>(numbers.data(), scales, outputs, inputs); }
  double real(int64_t o, int64_t k) const { return static_cast<double>(numbers[static_cast<size_t>(o * inputs + k)]) / static_cast<double>(scales[static_cast<size_t>(o)]); }
  int64_t outputs, inputs;
  std::vector<Number> numbers;
  std::vector<float> scales;
};

IntegerBias bias_of(const std::vector<float>& x) {
  IntegerBias bias;
  float largest = 0;
  for (const float one : x) largest = std::max(largest, std::fabs(one));
  bias.scale = Scale(static_cast<float>(1 << 22) / largest);
  for (const float one : x) bias.numbers.push_back(static_cast<int32_t>(std::lround(one * bias.scale.value())));
  return bias;
}

const Requantising kHow;

}  // namespace

TEST_CASE("1: real numbers become integers within half a step, zeros stay zeros", "[scale-propagation]") {
  const std::vector<float> x = normals(300, 1, 5);
  for (const int64_t limit : {7, 31, 127}) {
    std::vector<int8_t> numbers(x.size());
    const Scale scale = quantise_row(x.data(), 300, limit, numbers.data());
    int64_t most = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK(std::fabs(x[i] - static_cast<float>(numbers[i]) / scale.value()) <= 0.50001F / scale.value());
      most = std::max<int64_t>(most, std::abs(numbers[i]));
    }
    CHECK(most == limit);
  }
  const std::vector<float> zeros(5), tiny(5, 1e-44F);
  std::vector<int8_t> numbers(5, 1);
  CHECK(quantise_row(zeros.data(), 5, 127, numbers.data()).is_of_zeros());
  CHECK(numbers == std::vector<int8_t>(5, 0));
  CHECK(quantise_row(tiny.data(), 5, 127, numbers.data()).is_of_zeros());
}

TEMPLATE_TEST_CASE("2: a product is within the bound of its factors' steps", "[scale-propagation]", int8_t, int16_t) {
  constexpr int64_t kInputs = 61, kOutputs = 37, kRows = 9;
  const std::vector<float> x = normals(kRows * kInputs, 1, 2), real_weight = normals(kOutputs * kInputs, 2, 0.3), real_bias = normals(kOutputs, 3);
  const IntegerRows<TestType> rows = rows_of<TestType>(x, kInputs);
  for (const bool one_scale : {false, true}) {
    for (const bool relu : {false, true}) {
      const Weight<TestType> weight(kOutputs, kInputs, 2, one_scale);
      const IntegerLinear<TestType> linear(weight.matrix(), bias_of(real_bias));
      SumRows<TestType> z;
      linear(rows, 0, kRows, kHow, relu, z);
      for (int64_t r = 0; r < kRows; ++r) {
        const double own = static_cast<double>(rows.scale(r).value()), out = static_cast<double>(z.scale(r).value());
        SumOf<TestType> most = 0;
        for (int64_t o = 0; o < kOutputs; ++o) {
          const double step = static_cast<double>(weight.scales[static_cast<size_t>(o)]);
          double wanted = static_cast<double>(real_bias[static_cast<size_t>(o)]), bound = 1.0 / out + 1.0 / (1 << 22);  // matched sums and bias
          for (int64_t k = 0; k < kInputs; ++k) {
            const double a = static_cast<double>(x[static_cast<size_t>(r * kInputs + k)]), b = static_cast<double>(real_weight[static_cast<size_t>(o * kInputs + k)]);
            wanted += a * b;
            bound += std::abs(a) * 0.5 / step + std::abs(b) * 0.5 / own + 0.25 / (own * step);
          }
          if (relu) wanted = std::max(0.0, wanted);
          REQUIRE(std::abs(static_cast<double>(z.row(r)[o]) / out - wanted) <= 1.001 * bound);
          most = std::max<SumOf<TestType>>(most, std::abs(z.row(r)[o]));
        }
        REQUIRE(z.largest(r) == most);
      }
    }
  }
}

TEST_CASE("3: a sum of rows is within half a step of each, and of what both are matched to", "[scale-propagation]") {
  const std::vector<float> a = normals(200, 1, 3), b = normals(200, 2);
  const IntegerRows<int8_t> x = rows_of<int8_t>(a, 200), y = rows_of<int8_t>(b, 200);
  const Scale common = smaller(x.scale(0), y.scale(0));
  std::vector<int32_t> z(y.row(0), y.row(0) + 200);
  kernel::integer_kernels<int8_t>().add(z.data(), kernel::matching(common, y.scale(0)), x.row(0), kernel::matching(common, x.scale(0)), 200);
  for (size_t i = 0; i < z.size(); ++i) {
    CHECK(std::abs(z[i]) <= 254);
    const float bound = 0.5F / x.scale(0).value() + 0.5F / y.scale(0).value() + 0.5F / common.value();
    CHECK(std::fabs(static_cast<float>(z[i]) / common.value() - (a[i] + b[i])) <= bound * 1.0001F);
  }
}

TEST_CASE("4: products of too many numbers are refused", "[scale-propagation]") {
  const std::vector<int8_t> weight(static_cast<size_t>(kernel::kMostInt8Inputs + 1));
  CHECK_THROWS_AS(IntegerMatrix<int8_t>(weight.data(), {1}, 1, kernel::kMostInt8Inputs + 1), Error);
  // The largest sums that are taken: exact.
  const std::vector<int64_t> ones(static_cast<size_t>(kernel::kMostInt8Inputs), -127);
  const std::vector<int8_t> all(static_cast<size_t>(kernel::kMostInt8Inputs), 127);
  const IntegerRows<int8_t> x = rows_of_integers<int8_t>(ones, kernel::kMostInt8Inputs, 1);
  const IntegerMatrix<int8_t> matrix(all.data(), {1}, 1, kernel::kMostInt8Inputs);
  int32_t sum = 0;
  matrix.multiply(x, 0, 1, &sum);
  CHECK(sum == -127 * 127 * kernel::kMostInt8Inputs);
}

TEMPLATE_TEST_CASE("5 and 6: factors of two change scales alone, other rows nothing", "[scale-propagation]", int8_t, int16_t) {
  constexpr int64_t kWidth = 24, kRows = 5;
  std::vector<float> x = normals(kRows * kWidth, 1);
  const Weight<TestType> weight(kWidth, kWidth, 2, false);
  const IntegerLinear<TestType> linear(weight.matrix(), {});
  const std::vector<float> gain = normals(kWidth, 4);
  std::vector<TestType> gains(static_cast<size_t>(kWidth));
  const Scale gain_scale = quantise_row(gain.data(), kWidth, kLimit<TestType>, gains.data());
  const IntegerNorm<TestType> norm(gains, gain_scale, {});
  const auto run = [&](const std::vector<float>& input, bool with_norm) {
    const IntegerRows<TestType> rows = rows_of<TestType>(input, kWidth);
    SumRows<TestType> z;
    IntegerRows<TestType> out, room;
    out.resize(rows.rows(), kWidth);
    if (with_norm) {
      z.resize(rows.rows(), kWidth);
      for (int64_t r = 0; r < rows.rows(); ++r) norm(rows, r, kLimit<TestType>, kHow, room, z, r);
    } else {
      linear(rows, 0, rows.rows(), kHow, false, z);
    }
    requantise(z, kLimit<TestType>, kHow, false, out);
    return out;
  };
  for (const bool with_norm : {false, true}) {
    const IntegerRows<TestType> once = run(x, with_norm);
    std::vector<float> larger = x, turned;
    for (float& one : larger) one *= 8;
    const IntegerRows<TestType> scaled = run(larger, with_norm);
    for (int64_t r = kRows - 1; r >= 0; --r) turned.insert(turned.end(), x.begin() + r * kWidth, x.begin() + (r + 1) * kWidth);
    const IntegerRows<TestType> reversed = run(turned, with_norm);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t i = 0; i < kWidth; ++i) {
        REQUIRE(scaled.row(r)[i] == once.row(r)[i]);
        REQUIRE(reversed.row(kRows - 1 - r)[i] == once.row(r)[i]);
      }
      if (!with_norm) CHECK(scaled.scale(r).value() == once.scale(r).value() / 8);
      CHECK(reversed.scale(kRows - 1 - r) == once.scale(r));
    }
  }
}

TEST_CASE("7: where nothing needs re-scaling, integers compute what real numbers would", "[scale-propagation]") {
  constexpr int64_t kWidth = 6;
  const std::vector<int64_t> x{1, -2, 0, 3, 1, -1, 2, 2, -1, 0, 1, 1};
  const std::vector<int8_t> up{1, 0, -1, 2, 0, 1, 0, 1, 1, -1, 0, 0, 2, 1, 0, 0, -1, 1, 0, 0, 1, 1, 1, 1, -1, 0, 2, 0, 0, 1, 1, 1, 0, 0, 0, -2};
  const std::vector<float> ones(kWidth, 1);
  IntegerBias bias;
  bias.numbers = {1, -1, 2, 0, 3, -2};
  bias.scale = Scale(1);
  const IntegerLinear<int8_t> linear(IntegerMatrix<int8_t>(up.data(), ones, kWidth, kWidth), bias);
  const IntegerRows<int8_t> rows = rows_of_integers<int8_t>(x, kWidth, 1);
  SumRows<int8_t> z;
  IntegerRows<int8_t> hidden;
  hidden.resize(2, kWidth);
  linear(rows, 0, 2, kHow, true, z);
  requantise(z, 127, kHow, false, hidden);
  linear(hidden, 0, 2, kHow, false, z);
  for (int64_t r = 0; r < 2; ++r) {
    z.largest(r) = kernel::integer_kernels<int8_t>().add(z.row(r), kHow.matching(Scale(1), z.scale(r)), rows.row(r), kHow.matching(Scale(1), rows.scale(r)), kWidth);
    REQUIRE(z.scale(r) == Scale(1));
    std::vector<int64_t> inside(kWidth), result(kWidth);
    for (int64_t o = 0; o < kWidth; ++o) {
      int64_t sum = bias.numbers[static_cast<size_t>(o)];
      for (int64_t k = 0; k < kWidth; ++k) sum += up[static_cast<size_t>(o * kWidth + k)] * x[static_cast<size_t>(r * kWidth + k)];
      inside[static_cast<size_t>(o)] = std::max<int64_t>(0, sum);
    }
    for (int64_t o = 0; o < kWidth; ++o) {
      int64_t sum = bias.numbers[static_cast<size_t>(o)] + x[static_cast<size_t>(r * kWidth + o)];
      for (int64_t k = 0; k < kWidth; ++k) sum += up[static_cast<size_t>(o * kWidth + k)] * inside[static_cast<size_t>(k)];
      REQUIRE(z.row(r)[o] == sum);
    }
  }
}

TEMPLATE_TEST_CASE("8: normalisation by the mean deviation in integers", "[scale-propagation]", int8_t, int16_t) {
  constexpr int64_t kWidth = 96;
  const std::vector<float> x = normals(kWidth, 1, 3), gain = normals(kWidth, 2), shift = normals(kWidth, 3);
  std::vector<TestType> gains(static_cast<size_t>(kWidth));
  const Scale gain_scale = quantise_row(gain.data(), kWidth, kLimit<TestType>, gains.data());
  const IntegerNorm<TestType> norm(gains, gain_scale, bias_of(shift));
  const IntegerRows<TestType> rows = rows_of<TestType>(x, kWidth, kLimit<TestType> / 2);
  IntegerRows<TestType> room;
  SumRows<TestType> z;
  z.resize(1, kWidth);
  norm(rows, 0, kLimit<TestType>, kHow, room, z, 0);
  // Before anything is rounded, integers and real numbers agree: u / whole is (x - mean) / (C * mean |x - mean|).
  std::vector<SumOf<TestType>> u(static_cast<size_t>(kWidth));
  SumOf<TestType> deviation = 0;
  kernel::integer_kernels<TestType>().centre(rows.row(0), kWidth, u.data(), &deviation);
  double mean = 0, spread = 0, worst = 0;
  for (int64_t i = 0; i < kWidth; ++i) mean += real(rows, 0, i) / kWidth;
  for (int64_t i = 0; i < kWidth; ++i) spread += std::abs(real(rows, 0, i) - mean) / kWidth;
  const double constant = kernel::kDeviationOfMeanDeviation;
  for (int64_t i = 0; i < kWidth; ++i) {
    const auto at = static_cast<size_t>(i);
    const double exact = (real(rows, 0, i) - mean) / (constant * spread);
    REQUIRE(std::abs(static_cast<double>(u[at]) * kWidth / (constant * static_cast<double>(deviation)) - exact) < 1e-10);  // numbers up to 3, sums of 96 of them
    const double wanted = exact * static_cast<double>(gain[at]) + static_cast<double>(shift[at]);
    worst = std::max(worst, std::abs(static_cast<double>(z.row(0)[i]) / static_cast<double>(z.scale(0).value()) - wanted));
  }
  CHECK(worst < (sizeof(TestType) == 1 ? 0.1 : 1e-3));
  // What is added to all of a row changes nothing.
  std::vector<int64_t> moved;
  for (int64_t i = 0; i < kWidth; ++i) moved.push_back(rows.row(0)[i] + 40);
  SumRows<TestType> again;
  again.resize(1, kWidth);
  norm(rows_of_integers<TestType>(moved, kWidth, rows.scale(0).value()), 0, kLimit<TestType>, kHow, room, again, 0);
  for (int64_t i = 0; i < kWidth; ++i) REQUIRE(again.row(0)[i] == z.row(0)[i]);
  // Equal numbers become the bias.
  norm(rows_of_integers<TestType>(std::vector<int64_t>(kWidth, 9), kWidth, 2), 0, kLimit<TestType>, kHow, room, again, 0);
  for (int64_t i = 0; i < kWidth; ++i) {
    CHECK(static_cast<double>(again.row(0)[i]) / static_cast<double>(again.scale(0).value()) == Approx(shift[static_cast<size_t>(i)]).margin(1e-4));
  }
}

TEMPLATE_TEST_CASE("9: weights of polynomial attention sum to one, and are uniform where all scores are cut off", "[scale-propagation]", int8_t, int16_t) {
  constexpr int64_t kDim = 8, kHeads = 2, kWidth = kDim * kHeads;
  using Attention = IntegerAttention<TestType>;
  for (const Granularity granularity : {Granularity::kRow, Granularity::kHead}) {
    for (const int degree : {1, 2, 3, 4}) {
      for (const int64_t count : {1, 5, 40}) {
        CAPTURE(degree, count);
        Requantising how;
        how.granularity = granularity;
        const int64_t groups = granularity == Granularity::kHead ? kHeads : 1, group_width = kWidth / groups;
        const std::vector<float> q = normals(kWidth, 1, 0.5), k = normals(count * kWidth, 2), v = normals(count * kWidth, 3);
        std::vector<TestType> queries(static_cast<size_t>(kWidth)), numbers(static_cast<size_t>(2 * kWidth * count));
        std::vector<Scale> q_scales, scales(static_cast<size_t>(2 * groups * count));
        const auto fill = [&](bool same_values) {
          q_scales.clear();
          for (int64_t g = 0; g < groups; ++g) q_scales.push_back(quantise_row(q.data() + g * group_width, group_width, kLimit<TestType>, queries.data() + g * group_width));
          for (int64_t t = 0; t < count; ++t) {
            for (int64_t g = 0; g < groups; ++g) {
              TestType* to = numbers.data() + t * 2 * kWidth + g * group_width;
              Scale* scale = scales.data() + t * 2 * groups + g;
              scale[0] = quantise_row(k.data() + t * kWidth + g * group_width, group_width, kLimit<TestType>, to);
              scale[groups] = quantise_row(v.data() + (same_values ? 0 : t) * kWidth + g * group_width, group_width, kLimit<TestType>, to + kWidth);
            }
          }
        };
        const auto attend = [&](float bias, float delta, bool same_values) {
          fill(same_values);
          std::vector<const TestType*> rows;
          std::vector<const Scale*> scale_rows;
          for (int64_t t = 0; t < count; ++t) rows.push_back(numbers.data() + t * 2 * kWidth), scale_rows.push_back(scales.data() + t * 2 * groups);
          KeyScales matched;
          matched.match(scale_rows.data(), count, groups);
          const typename Attention::Head head{IntegerConstant<TestType>(bias, kLimit<TestType>), IntegerConstant<TestType>(delta, kLimit<TestType>), degree};
          Attention attention;
          std::vector<SumOf<TestType>> out(static_cast<size_t>(kWidth));
          SumOf<TestType> largest = 0;
          const Scale scale = attention({head, head}, queries.data(), q_scales.data(), rows.data(), matched, count, {kHeads, kDim}, kLimit<TestType>, how, out.data(), &largest);
          std::vector<double> result;
          SumOf<TestType> most = 0;
          for (const auto sum : out) {
            result.push_back(static_cast<double>(sum) / static_cast<double>(scale.value()));
            most = std::max<SumOf<TestType>>(most, std::abs(sum));
          }
          REQUIRE(largest == most);
          return result;
        };
        const double step = sizeof(TestType) == 1 ? 0.03 : 1e-3;
        std::vector<double> same = attend(1, 0.01F, true), uniform = attend(-100, 0.01F, false), exact(static_cast<size_t>(kWidth));
        const std::vector<double> weighted = attend(1, 0.01F, false);
        for (int64_t i = 0; i < kWidth; ++i) {
          const auto at = static_cast<size_t>(i);
          REQUIRE(same[at] == Approx(v[at]).margin(step));  // weights sum to one
          double mean = 0;
          for (int64_t t = 0; t < count; ++t) mean += static_cast<double>(v[static_cast<size_t>(t * kWidth + i)]) / static_cast<double>(count);
          REQUIRE(uniform[at] == Approx(mean).margin(step));
        }
        for (int64_t h = 0; h < kHeads; ++h) {
          std::vector<double> weights;
          double sum = 0;
          for (int64_t t = 0; t < count; ++t) {
            double score = 0;
            for (int64_t d = 0; d < kDim; ++d) {
              score += static_cast<double>(q[static_cast<size_t>(h * kDim + d)]) * static_cast<double>(k[static_cast<size_t>(t * kWidth + h * kDim + d)]);
            }
            weights.push_back(std::pow(std::max(0.0, score / std::sqrt(static_cast<double>(kDim)) + 1), degree) + 0.01);
            sum += weights.back();
          }
          for (int64_t d = 0; d < kDim; ++d) {
            double wanted = 0;
            for (int64_t t = 0; t < count; ++t) wanted += weights[static_cast<size_t>(t)] / sum * static_cast<double>(v[static_cast<size_t>(t * kWidth + h * kDim + d)]);
            REQUIRE(weighted[static_cast<size_t>(h * kDim + d)] == Approx(wanted).margin(sizeof(TestType) == 1 ? 0.08 : 2e-3));
          }
        }
        // Degree 1 without b and delta: max(0, score).
        if (degree == 1 && count > 1) {
          const std::vector<double> linear = attend(0, 0, false);
          double score_sum = 0, wanted = 0;
          for (int64_t t = 0; t < count; ++t) {
            double score = 0;
            for (int64_t d = 0; d < kDim; ++d) score += static_cast<double>(q[static_cast<size_t>(d)]) * static_cast<double>(k[static_cast<size_t>(t * kWidth + d)]);
            score_sum += std::max(0.0, score);
            wanted += std::max(0.0, score) * static_cast<double>(v[static_cast<size_t>(t * kWidth)]);
          }
          REQUIRE(linear[0] == Approx(wanted / score_sum).margin(sizeof(TestType) == 1 ? 0.08 : 2e-3));
        }
        // Nothing weighs anything: zeros, and no division by zero.
        for (const double one : attend(-100, 0, false)) REQUIRE(one == 0);
      }
    }
  }
}

TEST_CASE("rows of a sentence may share a scale", "[scale-propagation]") {
  constexpr int64_t kWidth = 8;
  SumRows<int8_t> z;
  z.resize(3, kWidth);
  const int32_t sums[3][kWidth] = {{1000, -2000, 0, 5, 7, 9, 1, 1}, {100, 50, 0, 0, 0, 0, 0, 0}, {}};
  const float scales[] = {100, 400, 1};
  for (int64_t r = 0; r < 3; ++r) {
    std::copy_n(sums[r], kWidth, z.row(r));
    z.scale(r) = r == 2 ? Scale::of_zeros() : Scale(scales[r]);
    z.largest(r) = r == 0 ? 2000 : r == 1 ? 100 : 0;
  }
  IntegerRows<int8_t> out;
  out.resize(3, kWidth);
  requantise(z, 127, kHow, true, out);
  CHECK(out.row(0)[1] == -127);
  CHECK(out.row(1)[0] == 2);  // 100 / 400 of the real size 20 that is 127
  CHECK(out.scale(0) == out.scale(1));
  CHECK(out.scale(2).is_of_zeros());
}
