// Compiled for AVX512-BF16 alone.

#include <immintrin.h>

#include <cstring>

#include "kernel/isa/tiles.h"
#include "kernel/packed_bf16.h"

namespace seqmill::kernel {
namespace {

constexpr int64_t kColumns = 32;
constexpr int kTileRows = 12;

struct Tile {
  template <int kRows>
  static void multiply(const uint16_t* x, int64_t width, const uint16_t* panel, float (*out)[kColumns]) {
    __m512 sums[kRows][2];
    for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < width; k += 2) {
      const auto left = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + k * kColumns));
      const auto right = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + k * kColumns + kColumns));
      for (int r = 0; r < kRows; ++r) {
        int32_t two;
        std::memcpy(&two, x + r * width + k, sizeof two);
        const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
        sums[r][0] = _mm512_dpbf16_ps(sums[r][0], left, factor);
        sums[r][1] = _mm512_dpbf16_ps(sums[r][1], right, factor);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      _mm512_storeu_ps(out[r], sums[r][0]);
      _mm512_storeu_ps(out[r] + 16, sums[r][1]);
    }
  }
};

}  // namespace

void multiply_bf16(const uint16_t* x, int64_t rows, const uint16_t* panels, int64_t outputs, int64_t inputs, const Finish& finish, float* out, int64_t stride) {
  for_each_tile_row<Tile, kTileRows, kColumns, float>(x, rows, panels, outputs, inputs, [&](int64_t row, int64_t first, int64_t columns, const float* sums) {
    finish_row(sums, finish, row, first, columns, stride, out + row * stride + first);
  });
}

}  // namespace seqmill::kernel
