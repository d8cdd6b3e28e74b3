#pragma once
// Attention weights without exponentials: see Polynomial. As everything in this folder, compiled once per instruction set.

#include <cmath>
#include <type_traits>

#include "kernel/float_kernels.h"
#include "kernel/isa/lanes.h"

namespace seqmill::kernel {
namespace {

template <int kDegree>
inline float power(float x) {
  if constexpr (kDegree == 0) return 1.0f;
  else return x * power<kDegree - 1>(x);
}

/// Calls function(std::integral_constant<int, degree>()).
template <typename Function>
inline auto with_degree(int degree, Function function) {
  switch (degree) {
    case 1: return function(std::integral_constant<int, 1>());
    case 2: return function(std::integral_constant<int, 2>());
    case 3: return function(std::integral_constant<int, 3>());
    default: return function(std::integral_constant<int, 4>());
  }
}

/// The weights of scores shifted and cut off below; returns the sum that they were divided by.
[[maybe_unused]] inline float polynomial_weights(const float* shifted, int64_t count, Polynomial polynomial, float* weights) {
  const float delta = std::fabs(polynomial.delta);
  with_degree(polynomial.degree, [=](auto degree) {
    for (int64_t j = 0; j < count; ++j) weights[j] = power<degree>(shifted[j]) + delta;
  });
  const float sum = sum_of(count, [weights](int64_t j) { return weights[j]; });
  const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
  for (int64_t j = 0; j < count; ++j) weights[j] *= inverse;
  return sum;
}

/// Scores shifted and cut off below.
[[maybe_unused]] inline void shift(const float* scores, int64_t count, float scale, float bias, float* shifted) {
  for (int64_t j = 0; j < count; ++j) {
    const float x = scores[j] * scale + bias;
    shifted[j] = x < 0 ? 0.0f : x;  // NaN stays
  }
}

}  // namespace
}  // namespace seqmill::kernel
