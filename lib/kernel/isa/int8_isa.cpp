// Compiled once per instruction set, with SEQMILL_ISA naming it.

#include <cmath>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernel/isa/lanes.h"
#include "kernel/isa/names.h"
#include "kernel/isa/tiles.h"
#include "kernel/packed_int8.h"

namespace seqmill::kernel {
namespace {

constexpr int64_t kColumns = Int8Kernels::kColumns;

// A tile multiplies some rows with one panel. Weights are stored with 128 added, which makes them unsigned, as the instructions want one of the
// factors: the sums are too large by 128 times the sum of the row.
#if defined(__AVX512VNNI__)

constexpr int kTileRows = 12;

struct Tile {
  template <int kRows>
  static void multiply(const int8_t* x, int64_t width, const uint8_t* panel, int32_t (*out)[kColumns]) {
    __m512i sums[kRows][2];
    for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    for (int64_t k = 0; k < width; k += 4) {
      const __m512i left = _mm512_loadu_si512(panel + k * kColumns), right = _mm512_loadu_si512(panel + k * kColumns + 64);
      for (int r = 0; r < kRows; ++r) {
        int32_t four;
        std::memcpy(&four, x + r * width + k, sizeof four);
        const __m512i factor = _mm512_set1_epi32(four);
        sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], left, factor);
        sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], right, factor);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      _mm512_storeu_si512(out[r], sums[r][0]);
      _mm512_storeu_si512(out[r] + 16, sums[r][1]);
    }
  }
};

#elif defined(__AVX2__)

constexpr int kTileRows = 2;

/// Four columns fill a register: 16 bits each of four inputs. A column's two pairs are added at the end.
struct Tile {
  template <int kRows>
  static void multiply(const int8_t* x, int64_t width, const uint8_t* panel, int32_t (*out)[kColumns]) {
    constexpr int kGroups = 4;  // of four columns at a time
    for (int64_t first = 0; first < kColumns; first += 4 * kGroups) {
      __m256i sums[kRows][kGroups];
      for (int r = 0; r < kRows; ++r) {
        for (int g = 0; g < kGroups; ++g) sums[r][g] = _mm256_setzero_si256();
      }
      for (int64_t k = 0; k < width; k += 4) {
        __m256i weights[kGroups];
        for (int g = 0; g < kGroups; ++g) {
          const auto* from = reinterpret_cast<const __m128i*>(panel + k * kColumns + (first + 4 * g) * 4);
          weights[g] = _mm256_cvtepu8_epi16(_mm_loadu_si128(from));
        }
        for (int r = 0; r < kRows; ++r) {
          int32_t four;
          std::memcpy(&four, x + r * width + k, sizeof four);
          const __m256i factor = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
          for (int g = 0; g < kGroups; ++g) sums[r][g] = _mm256_add_epi32(sums[r][g], _mm256_madd_epi16(weights[g], factor));
        }
      }
      for (int r = 0; r < kRows; ++r) {
        for (int g = 0; g < kGroups; ++g) {
          int32_t pairs[8];
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs), sums[r][g]);
          for (int c = 0; c < 4; ++c) out[r][first + 4 * g + c] = pairs[2 * c] + pairs[2 * c + 1];
        }
      }
    }
  }
};

#else

constexpr int kTileRows = 4;

struct Tile {
  template <int kRows>
  static void multiply(const int8_t* x, int64_t width, const uint8_t* panel, int32_t (*out)[kColumns]) {
    for (int r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kColumns; ++c) out[r][c] = 0;
      for (int64_t k = 0; k < width; k += 4) {
        for (int64_t c = 0; c < kColumns; ++c) {
          for (int64_t i = 0; i < 4; ++i) out[r][c] += panel[k * kColumns + 4 * c + i] * x[r * width + k + i];
        }
      }
    }
  }
};

#endif

/// Calls write(row, first column, columns, sums) for every row of every panel.
template <typename Write>
void for_each_sum(const Int8Rows& x, const uint8_t* panels, int64_t outputs, int64_t inputs, Write write) {
  const auto corrected = [&](int64_t row, int64_t first, int64_t columns, int32_t* sums) {
    const int32_t excess = 128 * x.sums[row];
    for (int64_t c = 0; c < kColumns; ++c) sums[c] -= excess;
    write(row, first, columns, sums);
  };
  for_each_tile_row<Tile, kTileRows, kColumns, int32_t>(x.numbers, x.rows, panels, outputs, padded_inputs(inputs), corrected);
}

void multiply(const Int8Rows& x, const uint8_t* panels, int64_t outputs, int64_t inputs, int32_t* out) {
  for_each_sum(x, panels, outputs, inputs, [&](int64_t row, int64_t first, int64_t columns, const int32_t* sums) {
    std::memcpy(out + row * outputs + first, sums, static_cast<size_t>(columns) * sizeof(int32_t));
  });
}

void multiply_real(const Int8Rows& x, const uint8_t* panels, int64_t outputs, int64_t inputs, const float* inverses, const Finish& finish, float* out,
                   int64_t stride) {
  for_each_sum(x, panels, outputs, inputs, [&](int64_t row, int64_t first, int64_t columns, const int32_t* sums) {
    const float inverse = 1.0f / x.scales[row];
    float real[kColumns];
    for (int64_t c = 0; c < columns; ++c) real[c] = static_cast<float>(sums[c]) * (inverse * inverses[first + c]);
    finish_row(real, finish, row, first, columns, stride, out + row * stride + first);
  });
}

/// The largest magnitude; infinity when there is a NaN or an infinity.
float largest_of(const float* x, int64_t count) {
  // Magnitudes compare like the integers of their bits, NaN being above infinity.
  using Bits = int32_t __attribute__((vector_size(kVectorLanes * sizeof(int32_t))));
  constexpr int32_t kMagnitude = 0x7fffffff;
  Bits lanes = {};
  int64_t i = 0;
  for (; i + kVectorLanes <= count; i += kVectorLanes) {
    Bits bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= kMagnitude;
    lanes = bits > lanes ? bits : lanes;
  }
  int32_t largest = 0;
  for (int64_t l = 0; l < kVectorLanes; ++l) largest = lanes[l] > largest ? lanes[l] : largest;
  for (; i < count; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= kMagnitude;
    largest = bits > largest ? bits : largest;
  }
  float value;
  std::memcpy(&value, &largest, sizeof value);
  return value == value ? value : INFINITY;
}

float quantise(const float* x, int64_t inputs, int32_t limit, int8_t* numbers, int32_t* sum) {
  const float largest = largest_of(x, inputs), bound = static_cast<float>(limit);
  *sum = 0;
  if (largest > 3.4e38f) {  // whatever is made of it is no number either
    std::memset(numbers, 0, static_cast<size_t>(inputs));
    return NAN;
  }
  // A row of zeros, or of numbers too small to have a scale, is zeros.
  const float wanted = bound / largest, scale = largest > 0 && wanted <= 3.4e38f ? wanted : 1.0f;
  int32_t total = 0;
  for (int64_t k = 0; k < inputs; ++k) {
    const float scaled = x[k] * scale;
    const float away = scaled + (scaled < 0 ? -0.5f : 0.5f);
    const float inside = away > bound ? bound : away < -bound ? -bound : away;
    const auto number = static_cast<int32_t>(inside);
    numbers[k] = static_cast<int8_t>(number);
    total += number;
  }
  *sum = total;
  return scale;
}

}  // namespace

const Int8Kernels& SEQMILL_JOIN(int8_kernels_, SEQMILL_ISA)() {
  static const Int8Kernels table{SEQMILL_TEXT(SEQMILL_ISA), multiply, multiply_real, quantise};
  return table;
}

}  // namespace seqmill::kernel
