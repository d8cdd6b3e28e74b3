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

void pack(const float* weight, int64_t outputs, int64_t inputs, float* panels) {
  for (int64_t first = 0; first < outputs; first += kColumns, panels += kColumns * inputs) {
    const int64_t count = outputs - first < kColumns ? outputs - first : kColumns;
    // Blocks of inputs: rows of the weight far apart share few lines of the cache.
    for (int64_t block = 0; block < inputs; block += kLanes) {
      const int64_t end = block + kLanes < inputs ? block + kLanes : inputs;
      for (int64_t c = 0; c < kColumns; ++c) {
        for (int64_t k = block; k < end; ++k) panels[k * kColumns + c] = c < count ? weight[(first + c) * inputs + k] : 0.0f;
      }
    }
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

void multiply(const float* x, int64_t rows, const float* panels, int64_t outputs, int64_t inputs, const Finish& finish, float* out) {
  for_each_tile_row<Tile, kTileRows, kColumns, float>(x, rows, panels, outputs, inputs, [&](int64_t row, int64_t first, int64_t columns, const float* sums) {
    finish_row(sums, finish, row, first, columns, outputs, out + row * outputs + first);
  });
}

/// scores[t] = the product of a query and a key of one head.
void score_keys(const float* q, const float* const* keys, int64_t count, int64_t offset, int64_t dim, float* scores) {
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
  for (; t < count; ++t) scores[t] = dot(q, keys[t] + offset, dim);
}

/// out = the sum over t of weights[t] times a value, for kCount vectors of one head.
template <int kCount>
void sum_values(const float* weights, const float* const* keys, int64_t count, int64_t offset, float* out) {
  Vector sums[kCount] = {};
  for (int64_t t = 0; t < count; ++t) {
    const float* value = keys[t] + offset;
    for (int v = 0; v < kCount; ++v) sums[v] += weights[t] * load(value + v * kVectorLanes);
  }
  for (int v = 0; v < kCount; ++v) std::memcpy(out + v * kVectorLanes, &sums[v], sizeof(Vector));
}

void attend(const float* q, const float* const* keys, int64_t count, int64_t heads, int64_t dim, float scale, const Polynomial* polynomials,
            float* weights, float* out) {
  for (int64_t h = 0; h < heads; ++h) {
    float* row = weights + h * count;
    score_keys(q + h * dim, keys, count, h * dim, dim, row);
    if (polynomials) {
      shift(row, count, scale, polynomials[h].bias, row);
      polynomial_weights(row, count, polynomials[h], row);
    } else {
      const float largest = max_of(row, count);
      for (int64_t t = 0; t < count; ++t) row[t] = exp_of_negative((row[t] - largest) * scale);
      const float inverse = 1.0f / sum_of(count, [row](int64_t t) { return row[t]; });
      for (int64_t t = 0; t < count; ++t) row[t] *= inverse;
    }
    const int64_t first = (heads + h) * dim;  // of the head's value, behind all keys
    float* to = out + h * dim;
    int64_t d = 0;
    for (; d + 4 * kVectorLanes <= dim; d += 4 * kVectorLanes) sum_values<4>(row, keys, count, first + d, to + d);
    for (; d + kVectorLanes <= dim; d += kVectorLanes) sum_values<1>(row, keys, count, first + d, to + d);
    for (; d < dim; ++d) {
      float sum = 0;
      for (int64_t t = 0; t < count; ++t) sum += row[t] * keys[t][first + d];
      to[d] = sum;
    }
  }
}

}  // namespace

const PackedKernels& SEQMILL_JOIN(packed_kernels_, SEQMILL_ISA)() {
  static const PackedKernels table{SEQMILL_TEXT(SEQMILL_ISA), kColumns, pack, multiply, attend};
  return table;
}

}  // namespace seqmill::kernel
