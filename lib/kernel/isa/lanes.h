#pragma once
// What the sources of this folder share. Each is compiled once per instruction set (names.h): everything here has internal linkage,
// or the linker would take one instruction set's for all.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/exponential.h"

namespace seqmill::kernel {
namespace {

constexpr int64_t kLanes = 16;

// Extensions of both compilers, for loops that must not be left to their vectorisers. As wide as a register: g++ 12 takes wider ones
// apart with moves that need an alignment which memory of others does not have.
#if defined(__AVX512F__)
constexpr int64_t kVectorLanes = 16;
#elif defined(__AVX__)
constexpr int64_t kVectorLanes = 8;
#else
constexpr int64_t kVectorLanes = 4;
#endif
using Vector = float __attribute__((vector_size(kVectorLanes * sizeof(float))));

inline Vector load(const float* x) {
  Vector vector;
  std::memcpy(&vector, x, sizeof vector);
  return vector;
}

template <typename Function>
inline float sum_of(int64_t count, Function term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += term(i + l);
  }
  for (int64_t l = 0; i < count; ++i, ++l) lanes[l] += term(i);
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

inline float dot(const float* a, const float* b, int64_t count) {
  return sum_of(count, [a, b](int64_t i) { return a[i] * b[i]; });
}

[[maybe_unused]] inline float max_of(const float* x, int64_t count) {
  // Not with an array of lanes: g++ 12 takes it apart into as many scalar maxima.
  Vector lanes = Vector{} - INFINITY;
  int64_t i = 0;
  for (; i + kVectorLanes <= count; i += kVectorLanes) {
    const Vector numbers = load(x + i);
    lanes = numbers > lanes ? numbers : lanes;
  }
  float best = -INFINITY;
  for (int64_t l = 0; l < kVectorLanes; ++l) best = lanes[l] > best ? lanes[l] : best;
  for (; i < count; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

/// The lower halves of two vectors by turns, or with kOffset = lanes / 2 the upper ones.
template <int64_t kOffset, size_t... kIndex>
inline Vector interleave(Vector a, Vector b, std::index_sequence<kIndex...>) {
  return __builtin_shufflevector(a, b, (kIndex % 2 * kVectorLanes + kIndex / 2 + kOffset)...);
}

/// A square of as many rows as a vector has lanes. Each round deals the rows out like two halves of a pack of cards that are merged.
[[maybe_unused]] inline void transpose_square(Vector (&rows)[kVectorLanes]) {
  using Indices = std::make_index_sequence<kVectorLanes>;
  for (int64_t round = 1; round < kVectorLanes; round *= 2) {
    Vector dealt[kVectorLanes];
    for (int64_t i = 0; i < kVectorLanes / 2; ++i) {
      dealt[2 * i] = interleave<0>(rows[i], rows[i + kVectorLanes / 2], Indices());
      dealt[2 * i + 1] = interleave<kVectorLanes / 2>(rows[i], rows[i + kVectorLanes / 2], Indices());
    }
    for (int64_t i = 0; i < kVectorLanes; ++i) rows[i] = dealt[i];
  }
}

}  // namespace
}  // namespace seqmill::kernel
