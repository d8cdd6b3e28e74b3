#include <catch2/catch.hpp>
#include <cmath>

#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

/// The factor of each of the elements first .. first + count - 1: 0 or 1 / (1 - p).
std::vector<float> factors(const FloatKernels& kernels, int64_t first, int64_t count, DropoutMask mask) {
  const std::vector<float> ones(static_cast<size_t>(count), 1.0f);
  std::vector<float> out(ones.size(), NAN);
  kernels.dropout(ones.data(), nullptr, out.data(), first, count, mask);
  return out;
}

/// How far a count of successes is from what is expected, in standard deviations.
double deviations(int64_t successes, int64_t trials, double probability) {
  const double n = static_cast<double>(trials);
  return std::abs(static_cast<double>(successes) - n * probability) / std::sqrt(n * probability * (1 - probability));
}

int64_t agreements(const std::vector<float>& a, const std::vector<float>& b) {
  int64_t same = 0;
  for (size_t i = 0; i < a.size(); ++i) same += a[i] == b[i];
  return same;
}

}  // namespace

TEST_CASE("dropout drops at its rate and rescales what it keeps", "[dropout]") {
  constexpr int64_t kCount = 200000;
  for (const float p : {0.01f, 0.1f, 0.5f, 0.9f}) {
    CAPTURE(p);
    const std::vector<float> mask = factors(float_kernels(), 0, kCount, {0x123456789abcdefULL, p});
    int64_t dropped = 0, neighbours = 0, strangers = 0;
    for (size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] != 0) REQUIRE(mask[i] == Approx(1 / (1 - p)).epsilon(1e-6));
      dropped += mask[i] == 0;
      neighbours += i % 2 == 1 && mask[i] == 0 && mask[i - 1] == 0;
      strangers += i >= kCount / 2 && mask[i] == 0 && mask[i - kCount / 2] == 0;
    }
    CHECK(deviations(dropped, kCount, p) < 5);
    CHECK(deviations(neighbours, kCount / 2, p * p) < 5);
    CHECK(deviations(strangers, kCount / 2, p * p) < 5);
  }
}

TEST_CASE("keys draw masks that have nothing to do with each other", "[dropout]") {
  constexpr int64_t kCount = 20000;
  Rng rng(1, "dropout");
  std::vector<float> before = factors(float_kernels(), 0, kCount, {rng.key(), 0.5f});
  CHECK(before == factors(float_kernels(), 0, kCount, {rng.key(), 0.5f}));
  for (int i = 0; i < 50; ++i) {
    std::vector<float> mask = factors(float_kernels(), 0, kCount, {rng.next(), 0.5f});
    CHECK(deviations(agreements(mask, before), kCount, 0.5) < 5);
    before = std::move(mask);
  }
  const std::vector<float> low = factors(float_kernels(), 0, kCount, {20000, 0.5f});
  const std::vector<float> high = factors(float_kernels(), 0, kCount, {20000 | uint64_t{1} << 40, 0.5f});
  CHECK(deviations(agreements(low, high), kCount, 0.5) < 5);
}

TEST_CASE("a mask does not depend on the parts it is drawn in nor on the instruction set", "[dropout]") {
  constexpr int64_t kCount = 1000;
  for (const int64_t origin : {int64_t{0}, int64_t{12345}, (int64_t{1} << 32) - 500}) {
    const DropoutMask mask{0xfedcba9876543210ULL, 0.3f};
    const std::vector<float> whole = factors(float_kernels(), origin, kCount, mask);
    for (const FloatKernels* kernels : available_kernels()) {
      CAPTURE(kernels->instruction_set, origin);
      CHECK(factors(*kernels, origin, kCount, mask) == whole);
      std::vector<float> parts;
      for (int64_t size = 1; parts.size() < whole.size(); size = size * 2 + 1) {
        const auto done = static_cast<int64_t>(parts.size());
        const std::vector<float> part = factors(*kernels, origin + done, std::min(size, kCount - done), mask);
        parts.insert(parts.end(), part.begin(), part.end());
      }
      CHECK(parts == whole);
    }
  }
}

TEST_CASE("dropout multiplies, adds the residual, and works in place", "[dropout]") {
  const std::vector<float> x = normals(131, 1), residual = normals(131, 2);
  const DropoutMask mask{9, 0.4f};
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    const std::vector<float> factor = factors(*kernels, 7, 131, mask);
    std::vector<float> plain = x, onto_x = x, onto_residual = residual;
    kernels->dropout(plain.data(), nullptr, plain.data(), 7, 131, mask);
    kernels->dropout(onto_x.data(), residual.data(), onto_x.data(), 7, 131, mask);
    kernels->dropout(x.data(), onto_residual.data(), onto_residual.data(), 7, 131, mask);
    for (size_t i = 0; i < x.size(); ++i) {
      REQUIRE(plain[i] == x[i] * factor[i]);
      REQUIRE(onto_x[i] == Approx(residual[i] + static_cast<double>(x[i]) * factor[i]).margin(1e-6));
    }
    CHECK(onto_residual == onto_x);
  }
}

TEST_CASE("a rate of 0 keeps everything", "[dropout]") {
  const std::vector<float> x = normals(100, 3);
  std::vector<float> out(100, NAN);
  for (const FloatKernels* kernels : available_kernels()) {
    kernels->dropout(x.data(), nullptr, out.data(), 0, 100, {5, 0.0f});
    CHECK(out == x);
  }
}

TEST_CASE("bias, dropout and residual in one pass", "[dropout]") {
  constexpr int64_t kRows = 4;
  for (const FloatKernels* kernels : available_kernels()) {
    for (const int64_t columns : {1, 16, 37}) {
      const std::vector<float> x = normals(kRows * columns, 1), bias = normals(columns, 2), residual = normals(kRows * columns, 3);
      for (const bool with_bias : {false, true}) {
        for (const bool with_residual : {false, true}) {
          for (const float probability : {0.0f, 0.3f}) {
            CAPTURE(kernels->instruction_set, columns, with_bias, with_residual, probability);
            const DropoutMask mask{5, probability};
            std::vector<float> factors(x.size(), 1.0f), out = x;
            if (probability > 0) kernels->dropout(factors.data(), nullptr, factors.data(), 100, kRows * columns, mask);
            kernels->bias_dropout_add(out.data(), with_bias ? bias.data() : nullptr, with_residual ? residual.data() : nullptr, kRows, columns,
                                      100, mask);
            for (size_t i = 0; i < x.size(); ++i) {
              const float sum = x[i] + (with_bias ? bias[i % bias.size()] : 0.0f);
              REQUIRE(out[i] == Approx(sum * factors[i] + (with_residual ? residual[i] : 0.0f)).margin(1e-6));
            }
          }
        }
      }
    }
  }
}
