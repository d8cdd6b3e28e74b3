// Compiled once per instruction set, with SEQMILL_ISA naming it.

#include <cmath>
#include <cstring>

#include "kernel/isa/lanes.h"
#include "kernel/isa/names.h"
#include "kernel/isa/polynomial.h"
#include "kernel/isa/tiles.h"
#include "kernel/packed.h"

namespace seqmill::kernel {
namespace {

constexpr int64_t kVectors = 2, kColumns = kVectors * kVectorLanes;

// As many rows as leave registers for the columns of a panel and one factor.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#elif defined(__AVX__)
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 4;
#endif

void interleave(const void* const* rows, int64_t count, int64_t words, int64_t width, void* panel) {
  constexpr int64_t kWord = sizeof(uint32_t);
  char* to = static_cast<char*>(panel);
  const int64_t squares = words / kVectorLanes * kVectorLanes;
  for (int64_t k = 0; k < squares; k += kVectorLanes) {
    for (int64_t c = 0; c < width; c += kVectorLanes) {
      Vector square[kVectorLanes] = {};
      for (int64_t i = 0; i < kVectorLanes && c + i < count; ++i) std::memcpy(&square[i], static_cast<const char*>(rows[c + i]) + k * kWord, sizeof(Vector));
      transpose_square(square);
      for (int64_t i = 0; i < kVectorLanes; ++i) std::memcpy(to + ((k + i) * width + c) * kWord, &square[i], sizeof(Vector));
    }
  }
  for (int64_t k = squares; k < words; ++k) {
    for (int64_t c = 0; c < width; ++c) {
      uint32_t word = 0;
      if (c < count) std::memcpy(&word, static_cast<const char*>(rows[c]) + k * kWord, sizeof word);
      std::memcpy(to + (k * width + c) * kWord, &word, sizeof word);
    }
  }
}

/// Halves as float32, whose exponent has 112 more than theirs: subnormal numbers become right by the product.
inline float from_half(uint16_t half) {
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  float value;
  std::memcpy(&value, &magnitude, sizeof value);
  value *= 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits |= (half & 0x7c00) == 0x7c00 ? 0x7f800000U : 0U;
  bits |= static_cast<uint32_t>(half & 0x8000) << 16;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float from_bfloat16(uint16_t upper) {
  const uint32_t bits = static_cast<uint32_t>(upper) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename Convert>
void widen_halves(const void* numbers, int64_t count, float* out, Convert convert) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, static_cast<const char*>(numbers) + i * static_cast<int64_t>(sizeof bits), sizeof bits);
    out[i] = convert(bits);
  }
}

void widen(const void* numbers, NumberType type, int64_t count, float* out) {
  switch (type) {
    case NumberType::kFloat16: return widen_halves(numbers, count, out, from_half);
    case NumberType::kBFloat16: return widen_halves(numbers, count, out, from_bfloat16);
    default: std::memcpy(out, numbers, static_cast<size_t>(count) * sizeof(float));
  }
}

struct Tile {
  template <int kRows>
  static void multiply(const float* x, int64_t inputs, const float* panel, float (*out)[kColumns]) {
    Vector sums[kRows][kVectors] = {};
    for (int64_t k = 0; k < inputs; ++k) {
      Vector weights[kVectors];
      for (int v = 0; v < kVectors; ++v) weights[v] = load(panel + k * kColumns + v * kVectorLanes);
      for (int r = 0; r < kRows; ++r) {
        const float factor = x[r * inputs + k];
        for (int v = 0; v < kVectors; ++v) sums[r][v] += factor * weights[v];
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) std::memcpy(&out[r][v * kVectorLanes], &sums[r][v], sizeof(Vector));
    }
  }
};

void multiply(const float* x, int64_t rows, const float* panels, int64_t outputs, int64_t inputs, const Finish& finish, float* out, int64_t stride) {
  for_each_tile_row<Tile, kTileRows, kColumns, float>(x, rows, panels, outputs, inputs, [&](int64_t row, int64_t first, int64_t columns, const float* sums) {
    finish_row(sums, finish, row, first, columns, stride, out + row * stride + first);
  });
}

inline Vector load(const BFloat16* x) {
  using Halves = uint16_t __attribute__((vector_size(kVectorLanes * sizeof(uint16_t))));
  using Words = uint32_t __attribute__((vector_size(kVectorLanes * sizeof(uint32_t))));
  Halves halves;
  std::memcpy(&halves, x, sizeof halves);
  const Words words = __builtin_convertvector(halves, Words) << 16;
  Vector vector;
  std::memcpy(&vector, &words, sizeof vector);
  return vector;
}

inline float number(float x) { return x; }
inline float number(BFloat16 x) { return from_bfloat16(x.bits); }

/// scores[t] = the product of a query and a key of one head.
template <typename Number>
void score_keys(const float* q, const Number* const* keys, int64_t count, int64_t offset, int64_t dim, float* scores) {
  int64_t t = 0;
  if (dim % kVectorLanes == 0) {
    // As many keys at once as a vector has lanes: their partial sums are turned, so that the last sums are of whole vectors.
    for (; t + kVectorLanes <= count; t += kVectorLanes) {
      Vector sums[kVectorLanes] = {};
      for (int64_t d = 0; d < dim; d += kVectorLanes) {
        const Vector part = load(q + d);
        for (int64_t i = 0; i < kVectorLanes; ++i) sums[i] += part * load(keys[t + i] + offset + d);
      }
      transpose_square(sums);
      for (int64_t half = kVectorLanes / 2; half > 0; half /= 2) {
        for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
      }
      std::memcpy(scores + t, &sums[0], sizeof(Vector));
    }
  }
  for (; t < count; ++t) {
    const Number* key = keys[t] + offset;
    scores[t] = sum_of(dim, [q, key](int64_t d) { return q[d] * number(key[d]); });
  }
}

/// Asks for what lies `count` numbers from x on. Keys that lie anywhere are not foreseen by the machine itself.
template <typename Number>
inline void prefetch(const Number* x, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(Number);
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(x + i);
}

/// The same for kHeads queries, whose scores are `count` apart, with one key of them all. `dim` is a multiple of the lanes. As many keys at once as a vector has
/// lanes: they are turned, so that each of their numbers is one of every key, and what is behind the last key is the last once more.
template <int kHeads, typename Number>
void score_shared_keys(const float* q, const Number* const* keys, int64_t count, int64_t offset, int64_t dim, float* scores) {
  for (int64_t t = 0; t < count; t += kVectorLanes) {
    const int64_t present = count - t < kVectorLanes ? count - t : kVectorLanes;
    const Number* places[kVectorLanes];
    for (int64_t i = 0; i < kVectorLanes; ++i) places[i] = keys[t + (i < present ? i : present - 1)] + offset;
    for (int64_t i = t + kVectorLanes; i < t + 2 * kVectorLanes && i < count; ++i) prefetch(keys[i] + offset, dim);
    Vector sums[kHeads] = {};
    for (int64_t d = 0; d < dim; d += kVectorLanes) {
      Vector square[kVectorLanes];
      for (int64_t i = 0; i < kVectorLanes; ++i) square[i] = load(places[i] + d);
      transpose_square(square);
      for (int64_t i = 0; i < kVectorLanes; ++i) {
        for (int h = 0; h < kHeads; ++h) sums[h] += q[h * dim + d + i] * square[i];
      }
    }
    for (int h = 0; h < kHeads; ++h) std::memcpy(scores + h * count + t, &sums[h], static_cast<size_t>(present) * sizeof(float));
  }
}

/// Scores become weights.
void weigh(float* row, int64_t count, float scale, const Polynomial* polynomial) {
  if (polynomial) {
    shift(row, count, scale, polynomial->bias, row);
    polynomial_weights(row, count, *polynomial, row);
    return;
  }
  const float largest = max_of(row, count);
  for (int64_t t = 0; t < count; ++t) row[t] = exp_of_negative((row[t] - largest) * scale);
  const float inverse = 1.0f / sum_of(count, [row](int64_t t) { return row[t]; });
  for (int64_t t = 0; t < count; ++t) row[t] *= inverse;
}

/// out[h] = the sum over t of weights[h][t] times a value, for kCount vectors of kHeads heads, whose rows of out are `dim` apart.
template <int kHeads, int kCount, typename Number>
void sum_values(const float* weights, const Number* const* values, int64_t count, int64_t offset, float* out, int64_t dim) {
  constexpr int64_t kAhead = 16;
  Vector sums[kHeads][kCount] = {};
  for (int64_t t = 0; t < count; ++t) {
    const Number* value = values[t] + offset;
    if (t + kAhead < count) prefetch(values[t + kAhead] + offset, kCount * kVectorLanes);
    Vector parts[kCount];
    for (int v = 0; v < kCount; ++v) parts[v] = load(value + v * kVectorLanes);
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kCount; ++v) sums[h][v] += weights[h * count + t] * parts[v];
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kCount; ++v) std::memcpy(out + h * dim + v * kVectorLanes, &sums[h][v], sizeof(Vector));
  }
}

/// The same for all of kHeads heads.
template <int kHeads, typename Number>
void sum_heads(const float* weights, const Number* const* values, int64_t count, int64_t offset, float* out, int64_t dim) {
  constexpr int kCount = kHeads == 1 ? 4 : 2;  // sums that stay in registers
  int64_t d = 0;
  for (; d + kCount * kVectorLanes <= dim; d += kCount * kVectorLanes) sum_values<kHeads, kCount>(weights, values, count, offset + d, out + d, dim);
  for (; d + kVectorLanes <= dim; d += kVectorLanes) sum_values<kHeads, 1>(weights, values, count, offset + d, out + d, dim);
  for (; d < dim; ++d) {
    for (int h = 0; h < kHeads; ++h) {
      float sum = 0;
      for (int64_t t = 0; t < count; ++t) sum += weights[h * count + t] * number(values[t][offset + d]);
      out[h * dim + d] = sum;
    }
  }
}

#if defined(__AVX512F__)
constexpr int kHeadsAtOnce = 8;
#else
constexpr int kHeadsAtOnce = 4;
#endif

/// Calls function(std::integral_constant<int, heads at once>(), first of them) for the heads of a group.
template <typename Function>
void for_heads_at_once(int64_t first, int64_t group, Function function) {
  int64_t h = first;
  const int64_t end = first + group;
  for (; h + kHeadsAtOnce <= end; h += kHeadsAtOnce) function(std::integral_constant<int, kHeadsAtOnce>(), h);
  for (; h + 2 <= end; h += 2) function(std::integral_constant<int, 2>(), h);
  for (; h < end; ++h) function(std::integral_constant<int, 1>(), h);
}

template <typename Number>
void attend(const float* q, const ScatteredKeys<Number>& keys, int64_t heads, int64_t group, int64_t dim, float scale, const Polynomial* polynomials,
            float* weights, float* out) {
  const int64_t count = keys.count;
  for (int64_t first = 0; first < heads; first += group) {
    const int64_t key = keys.key + first / group * dim, value = keys.value + first / group * dim;
    if (group > 1 && dim % kVectorLanes == 0) {
      for_heads_at_once(first, group, [&](auto at_once, int64_t h) { score_shared_keys<at_once>(q + h * dim, keys.tokens, count, key, dim, weights + h * count); });
    } else {
      for (int64_t h = first; h < first + group; ++h) score_keys(q + h * dim, keys.tokens, count, key, dim, weights + h * count);
    }
    for (int64_t h = first; h < first + group; ++h) weigh(weights + h * count, count, scale, polynomials ? polynomials + h : nullptr);
    for_heads_at_once(first, group, [&](auto at_once, int64_t h) { sum_heads<at_once>(weights + h * count, keys.tokens, count, value, out + h * dim, dim); });
  }
}

}  // namespace

const PackedKernels& SEQMILL_JOIN(packed_kernels_, SEQMILL_ISA)() {
  static const PackedKernels table{SEQMILL_TEXT(SEQMILL_ISA), kColumns, interleave, widen, multiply, attend<float>, attend<BFloat16>};
  return table;
}

}  // namespace seqmill::kernel
