#pragma once
// Products by tiles: some rows with one panel of weights at a time. As everything in this folder, compiled once per instruction set.

#include <cstdint>

#include "kernel/packed.h"

namespace seqmill::kernel {
namespace {

/// As Finish says, on `columns` numbers of one row.
[[maybe_unused]] inline void finish_row(const float* sums, const Finish& finish, int64_t row, int64_t first, int64_t columns, int64_t stride, float* out) {
  const float* residual = finish.residual ? finish.residual + row * stride + first : nullptr;
  for (int64_t c = 0; c < columns; ++c) {
    float value = sums[c];
    if (finish.bias) value += finish.bias[first + c];
    if (finish.relu) value = value < 0 ? 0.0f : value;  // NaN stays
    out[c] = residual ? residual[c] + value : value;
  }
}

template <typename Tile, int kRows, int64_t kColumns, typename Number, typename Sum, typename Panel>
inline void multiply_rows(int64_t left, const Number* x, int64_t inputs, const Panel* panel, Sum (*out)[kColumns]) {
  if constexpr (kRows > 1) {
    if (left < kRows) return multiply_rows<Tile, kRows - 1, kColumns>(left, x, inputs, panel, out);
  }
  Tile::template multiply<kRows>(x, inputs, panel, out);
}

/// Calls write(row, first column, columns, sums) for every row of x [rows, inputs] and every panel [inputs, kColumns]. Tile::multiply<kRows>(x, inputs,
/// panel, out) gives the sums of some rows.
template <typename Tile, int kTileRows, int64_t kColumns, typename Sum, typename Number, typename Panel, typename Write>
inline void for_each_tile_row(const Number* x, int64_t rows, const Panel* panels, int64_t outputs, int64_t inputs, Write write) {
  constexpr int64_t kCached = 1 << 18;  // bytes of rows that stay in the second cache while the panels go by
  const int64_t tiles = kCached / (inputs * kTileRows * static_cast<int64_t>(sizeof(Number)) + 1);
  const int64_t block = (tiles > 1 ? tiles : 1) * kTileRows;
  Sum sums[kTileRows][kColumns];
  for (int64_t begin = 0; begin < rows; begin += block) {
    const int64_t end = rows - begin < block ? rows : begin + block;
    for (int64_t first = 0; first < outputs; first += kColumns) {
      const int64_t columns = outputs - first < kColumns ? outputs - first : kColumns;
      for (int64_t row = begin; row < end; row += kTileRows) {
        multiply_rows<Tile, kTileRows, kColumns>(end - row, x + row * inputs, inputs, panels + first * inputs, sums);
        for (int64_t r = row; r < end && r < row + kTileRows; ++r) write(r, first, columns, sums[r - row]);
      }
    }
  }
}

}  // namespace
}  // namespace seqmill::kernel
