// Integers with scales, on every instruction set, against exact arithmetic.
#include <catch2/catch.hpp>
#include <cmath>

#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

template <typename Number>
std::vector<const IntegerKernels<Number>*> tables();
template <>
std::vector<const IntegerKernels<int8_t>*> tables() { return usable_integer_kernels(); }
template <>
std::vector<const IntegerKernels<int16_t>*> tables() { return usable_wide_integer_kernels(); }

/// Whole numbers of at most `limit`, which is among them.
template <typename Number>
std::vector<Number> numbers(int64_t count, int64_t limit, uint64_t seed) {
  Rng rng(seed, "numbers");
  std::vector<Number> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(static_cast<Number>(static_cast<int64_t>(rng.below(static_cast<uint64_t>(2 * limit + 1))) - limit));
  if (count > 2) all[1] = static_cast<Number>(limit), all[2] = static_cast<Number>(-limit);
  return all;
}

/// numerator / denominator, half away from zero; in long double, whose 64 bits hold what is compared here.
int64_t rounded_quotient(int64_t numerator, int64_t denominator) {
  const int64_t size = std::abs(numerator);
  return (numerator < 0 ? -1 : 1) * ((2 * size + denominator) / (2 * denominator));
}

/// z times a factor, rounded, as the header says.
int64_t times(int64_t z, Multiplier factor) {
  const long double exact = std::ldexp(std::abs(static_cast<long double>(z)) * static_cast<long double>(factor.mantissa), -factor.shift);
  const long double size = std::floor(exact + (factor.half ? 0.5L : 0.0L));
  return static_cast<int64_t>(z < 0 ? -size : size);
}

template <typename Any>
int64_t largest(const std::vector<Any>& z) {
  int64_t most = 0;
  for (const Any one : z) most = std::max<int64_t>(most, std::abs(static_cast<int64_t>(one)));
  return most;
}

template <typename Number>
void check_kernels(int64_t largest_sum) {
  using Sum = SumOf<Number>;
  constexpr int64_t kLimit = std::numeric_limits<Number>::max();
  for (const IntegerKernels<Number>* kernels : tables<Number>()) {
    for (const int64_t count : {1, 3, 16, 37, 200}) {
      CAPTURE(kernels->instruction_set, count, sizeof(Number));
      const auto x = numbers<Number>(count, kLimit, 1), y = numbers<Number>(count, kLimit, 2);
      const auto z = numbers<Sum>(count, largest_sum, 3);
      const auto bias = numbers<int32_t>(count, 1 << 22, 4);
      std::vector<uint32_t> ratios;
      Rng rng(5, "ratios");
      for (int64_t i = 0; i < count; ++i) ratios.push_back(i % 3 == 0 ? uint32_t{1} << 31 : static_cast<uint32_t>(rng.below(uint64_t{1} << 31)));
      for (const Rounding rounding : {Rounding::kNearest, Rounding::kTruncate}) {
        for (const bool relu : {false, true}) {
          const Multiplier of_z = matching(Scale(1), Scale(3.7F), rounding), of_bias = matching(Scale(0.5F), Scale(7), rounding);
          for (const bool with_ratios : {false, true}) {
            std::vector<Sum> got = z, wanted;
            const Sum most = kernels->finish(got.data(), count, with_ratios ? ratios.data() : nullptr, of_z, bias.data(), of_bias, relu);
            for (size_t i = 0; i < z.size(); ++i) {
              int64_t one = z[i];
              if (with_ratios) one = times(one, {ratios[i], 31, of_z.half ? uint64_t{1} << 30 : 0});
              one = times(one, of_z) + times(bias[i], of_bias);
              wanted.push_back(static_cast<Sum>(relu ? std::max<int64_t>(0, one) : one));
            }
            REQUIRE(got == wanted);
            REQUIRE(most == largest(wanted));
          }
        }
      }
      {
        std::vector<Sum> got = z, wanted;
        const Multiplier of_z = matching(Scale(1), Scale(1000)), of_x = matching(Scale(1), Scale(1));
        const Sum most = kernels->add(got.data(), of_z, x.data(), of_x, count);
        for (size_t i = 0; i < z.size(); ++i) wanted.push_back(static_cast<Sum>(times(z[i], of_z) + x[i]));
        REQUIRE(got == wanted);
        REQUIRE(most == largest(wanted));
        std::vector<Sum> shifted = z;
        const Sum shifted_most = kernels->add_constant(shifted.data(), 5, true, count);
        REQUIRE(shifted_most == largest(shifted));
        REQUIRE(kernels->largest(shifted.data(), count) == shifted_most);
        for (size_t i = 0; i < z.size(); ++i) REQUIRE(shifted[i] == std::max<Sum>(0, z[i] + 5));
      }
      {
        const Rescaled to = rescaled(largest(z), kLimit, Scale(1));
        std::vector<Number> got(z.size());
        const Sum sum = kernels->narrow(z.data(), to.factor, got.data(), count);
        int64_t wanted = 0;
        for (size_t i = 0; i < z.size(); ++i) {
          REQUIRE(got[i] == times(z[i], to.factor));
          wanted += got[i];
        }
        REQUIRE(sum == wanted);
        if (count > 2) REQUIRE(largest(got) == kLimit);
      }
      {
        std::vector<Sum> got(x.size());
        const Sum most = kernels->product(x.data(), y.data(), got.data(), count);
        for (size_t i = 0; i < x.size(); ++i) REQUIRE(got[i] == static_cast<Sum>(x[i]) * y[i]);
        REQUIRE(most == largest(got));
        Sum deviation = 0;
        const Sum farthest = kernels->centre(x.data(), count, got.data(), &deviation);
        int64_t sum = 0, size = 0;
        for (const Number one : x) sum += one;
        for (size_t i = 0; i < x.size(); ++i) {
          REQUIRE(got[i] == count * x[i] - sum);
          size += std::abs(static_cast<int64_t>(got[i]));
        }
        REQUIRE(deviation == size);
        REQUIRE(farthest == largest(got));
      }
      {
        constexpr int64_t kRows = 5, kOffset = 3;
        const auto pool = numbers<Number>(kRows * (count + kOffset), kLimit, 6), weights = numbers<Number>(kRows, kLimit, 7);
        std::vector<const Number*> rows;
        for (int64_t t = 0; t < kRows; ++t) rows.push_back(pool.data() + (t * 3 % kRows) * (count + kOffset));
        std::vector<Sum> dots(kRows), sums(x.size());
        kernels->dots(x.data(), rows.data(), kRows, kOffset, count, dots.data());
        kernels->weighted_sum(weights.data(), rows.data(), kRows, kOffset, count, sums.data());
        for (int64_t t = 0; t < kRows; ++t) {
          int64_t dot = 0;
          for (int64_t d = 0; d < count; ++d) dot += int64_t{x[static_cast<size_t>(d)]} * rows[static_cast<size_t>(t)][kOffset + d];
          REQUIRE(dots[static_cast<size_t>(t)] == dot);
        }
        for (int64_t d = 0; d < count; ++d) {
          int64_t sum = 0;
          for (int64_t t = 0; t < kRows; ++t) sum += int64_t{weights[static_cast<size_t>(t)]} * rows[static_cast<size_t>(t)][kOffset + d];
          REQUIRE(sums[static_cast<size_t>(d)] == sum);
        }
        std::vector<Sum> product(2 * kRows);
        std::vector<Number> two(static_cast<size_t>(2 * (count + 1)));
        for (int64_t i = 0; i < count; ++i) two[static_cast<size_t>(i)] = x[static_cast<size_t>(i)], two[static_cast<size_t>(count + 1 + i)] = y[static_cast<size_t>(i)];
        kernels->multiply(two.data(), 2, count + 1, pool.data(), kRows, count, product.data());
        for (int64_t r = 0; r < 2; ++r) {
          for (int64_t o = 0; o < kRows; ++o) {
            int64_t sum = 0;
            for (int64_t d = 0; d < count; ++d) sum += int64_t{(r == 0 ? x : y)[static_cast<size_t>(d)]} * pool[static_cast<size_t>(o * count + d)];
            REQUIRE(product[static_cast<size_t>(r * kRows + o)] == sum);
          }
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("integers of 8 bits with scales, on every instruction set", "[integers]") { check_kernels<int8_t>((int64_t{1} << 30)); }

TEST_CASE("integers of 16 bits with scales", "[integers]") { check_kernels<int16_t>(int64_t{1} << 42); }

TEST_CASE("re-scaling divides exactly, leaves what fits alone, and does nothing the second time", "[integers][scale]") {
  Rng rng(1, "rescaling");
  for (int turn = 0; turn < 2000; ++turn) {
    const int64_t limit = int64_t{1} << (turn % 5 + 3), top = limit - 1;
    const auto most = static_cast<int64_t>(1 + rng.below(uint64_t{1} << (4 + turn % 19)));
    const Scale scale(static_cast<float>(std::exp(rng.normal() * 5)));
    const Rescaled now = rescaled(most, top, scale);
    for (int i = 0; i < 20; ++i) {
      const int64_t z = i == 0 ? most : i == 1 ? -most : static_cast<int64_t>(rng.below(static_cast<uint64_t>(2 * most + 1))) - most;
      const int64_t result = times(z, now.factor);
      if (most <= top) {
        REQUIRE(result == z);
      } else {
        REQUIRE(result == rounded_quotient(z * top, most));
      }
      REQUIRE(std::abs(result) <= top);
      // The value is what it was up to half a step.
      const double s = static_cast<double>(scale.value());
      REQUIRE(std::abs(static_cast<double>(z) / s - static_cast<double>(result) / static_cast<double>(now.scale.value())) <=
              0.50001 / static_cast<double>(now.scale.value()));
    }
    if (most > top) {
      const Rescaled again = rescaled(top, top, now.scale);
      REQUIRE((again.factor.is_one() && again.scale == now.scale));
    }
    // A power of two loses less than one bit.
    const Rescaled shifted = rescaled(most, top, scale, Rescaling::kPow2);
    REQUIRE(times(most, shifted.factor) <= top);
    if (most > top) REQUIRE(2 * times(most, shifted.factor) >= top - 1);
    const float ratio = scale.value() / shifted.scale.value();
    REQUIRE(ratio == std::exp2(std::round(std::log2(ratio))));
    // What is small grows when it always is to fill its bits; truncation leaves the largest where it is.
    REQUIRE(times(most, rescaled(most, top, scale, Rescaling::kAlways).factor) == top);
    REQUIRE(times(most, rescaled(most, top, scale, Rescaling::kAlways, Rounding::kTruncate).factor) == top);
  }
  REQUIRE(rescaled(0, 127, Scale(3)).scale.is_of_zeros());
}

TEST_CASE("scales that are watched tell lost bits and what overflowed", "[integers][scale]") {
  watch_scales(true);
  matching(Scale(2), Scale(2));         // nothing to match
  matching(Scale(2), Scale::of_zeros());
  matching(Scale(2), Scale(8));         // two bits
  matching_ratio(Scale(1), Scale(2));   // one
  matching(Scale(1e-30F), Scale(1e30F));
  rescaled(0, 127, Scale(1));
  rescaled(127, 127, Scale(1));
  rescaled(1024, 127, Scale(1));
  watch_scales(false);
  matching(Scale(2), Scale(8));
  rescaled(1 << 20, 127, Scale(1));
  const ScaleCounts counts = scale_counts();
  REQUIRE(counts.matched == 3);
  REQUIRE(counts.lost_bits == 35.0 / 3);
  REQUIRE(counts.most_lost_bits == 32);
  REQUIRE(counts.sums == 2);
  REQUIRE(counts.over == 1);
  REQUIRE(counts.largest_sum_bits == 10);
  watch_scales(true);
  watch_scales(false);
  REQUIRE(scale_counts().matched == 0);
}

TEST_CASE("matching goes to the smaller scale, and zeros match anything", "[integers][scale]") {
  REQUIRE(matching(Scale(2), Scale(2)).is_one());
  REQUIRE(times(100, matching(Scale(2), Scale(8))) == 25);
  REQUIRE(times(-102, matching(Scale(2), Scale(8))) == -26);  // half away from zero
  REQUIRE(times(-102, matching(Scale(2), Scale(8), Rounding::kTruncate)) == -25);
  REQUIRE(times(127, matching(Scale(2), Scale::of_zeros())) == 0);
  REQUIRE(matching(Scale::of_zeros(), Scale::of_zeros()).is_one());
  REQUIRE(smaller(Scale(5), Scale::of_zeros()) == Scale(5));
  REQUIRE(times(1 << 30, matching(Scale(1e-30F), Scale(1e30F))) == 0);
  REQUIRE(matching_ratio(Scale(1), Scale(4)) == uint32_t{1} << 29);
  REQUIRE(matching_ratio(Scale(3), Scale(3)) == uint32_t{1} << 31);
  REQUIRE(matching_ratio(Scale(3), Scale::of_zeros()) == 0);
  Rng rng(2, "matching");
  for (int turn = 0; turn < 1000; ++turn) {
    const Scale own(static_cast<float>(std::exp(rng.normal()))), other(static_cast<float>(std::exp(rng.normal()))), common = smaller(own, other);
    const auto x = static_cast<int64_t>(rng.below(255)) - 127;
    const int64_t matched = times(x, matching(common, own));
    REQUIRE(std::abs(matched) <= 127);
    REQUIRE(std::abs(static_cast<double>(matched) - static_cast<double>(x) * static_cast<double>(common.value()) / static_cast<double>(own.value())) <= 0.50001);
  }
}
