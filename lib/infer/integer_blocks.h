#pragma once
// What the sub-layers of Scale Propagation do with rows, a block of them at a time.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "infer/integer_attention.h"
#include "infer/integer_layers.h"
#include "infer/integer_rows.h"

namespace seqmill::infer {

/// Rows that are worked on together.
struct Block {
  int64_t first, count;
};

/// `rows` rows in blocks whose sums stay near, at least as many as there are threads for them. Clears what `blocks` held.
inline void into_blocks(int64_t rows, int threads, std::vector<Block>& blocks) {
  constexpr int64_t kRows = 48;
  const int64_t size = std::clamp<int64_t>((rows + threads - 1) / threads, 1, kRows);
  blocks.clear();
  for (int64_t first = 0; first < rows; first += size) blocks.push_back({first, std::min(size, rows - first)});
}

/// Integers that lie elsewhere, with their scale.
template <typename Number>
struct ScaledRow {
  const Number* numbers;
  Scale scale;
};

/// Columns of sums that become integers with scales of their own, such as queries: `groups` scales, each for as many of them.
struct Columns {
  int64_t first, width, groups;
};

/// The memory of what works on a block.
template <typename Number>
struct BlockRoom {
  SumRows<Number> z;
  IntegerRows<Number> one;
  std::vector<Number> embedded;
  IntegerAttention<Number> attention;
  KeyScales matched;
  Buffer<float> row_scales;
};

/// Threads may work on different blocks of the same rows, each in a room of its own. `one_scale`: the rows of a block share their scales; otherwise what becomes
/// of a row does not depend on its block.
template <typename Number>
class BlockWork {
 public:
  BlockWork(const Requantising& how, bool one_scale, BlockRoom<Number>& room) : how_(how), one_scale_(one_scale), room_(room) {}

  /// Sums of the block, which others fill.
  SumRows<Number>& sums(int64_t rows, int64_t width) {
    room_.z.resize(rows, width);
    return room_.z;
  }
  /// They become rows of `out`.
  void store(const Block& block, int64_t limit, IntegerRows<Number>& out) { requantise(room_.z, limit, how_, one_scale_, out, block.first); }

  /// An embedding `times` a factor, which goes into its scale, and its position -> row `to` of sums.
  void embed(const IntegerMatrix<Number>& table, int32_t token, Scale times, const ScaledRow<Number>& position, int64_t to) {
    room_.embedded.resize(static_cast<size_t>(table.inputs()));
    table.row(token, room_.embedded.data());
    const Scale of_token = Scale(table.scales()[static_cast<size_t>(token)]) / times, common = smaller(of_token, position.scale);
    SumOf<Number>* z = room_.z.row(to);
    std::copy(room_.embedded.begin(), room_.embedded.end(), z);
    room_.z.largest(to) = kernels().add(z, how_.matching(common, of_token), position.numbers, how_.matching(common, position.scale), table.inputs());
    room_.z.scale(to) = common;
  }

  /// In place is allowed; `out` has its size.
  void normalise(const Block& block, const IntegerNorm<Number>& norm, int64_t limit, const IntegerRows<Number>& x, IntegerRows<Number>& out) {
    room_.z.resize(block.count, x.width());
    for (int64_t r = 0; r < block.count; ++r) norm(x, block.first + r, limit, how_, room_.one, room_.z, r);
    store(block, limit, out);
  }

  /// out = linear(x), then max(0, .) with `relu`; `out` has its size.
  void multiply(const Block& block, const IntegerLinear<Number>& linear, int64_t limit, bool relu, const IntegerRows<Number>& x, IntegerRows<Number>& out) {
    linear(x, block.first, block.count, how_, relu, room_.z);
    store(block, limit, out);
  }

  /// x = x + linear(y).
  void add(const Block& block, const IntegerLinear<Number>& linear, int64_t limit, const IntegerRows<Number>& y, IntegerRows<Number>& x) {
    SumRows<Number>& z = room_.z;
    linear(y, block.first, block.count, how_, false, z);
    for (int64_t r = 0; r < block.count; ++r) {
      const int64_t row = block.first + r;
      const Scale common = smaller(z.scale(r), x.scale(row));
      z.largest(r) = kernels().add(z.row(r), how_.matching(common, z.scale(r)), x.row(row), how_.matching(common, x.scale(row)), x.width());
      z.scale(r) = common;
    }
    store(block, limit, x);
  }

  /// linear(x), whose columns i of row r become integers at destination(r, i), with scales [groups] at scales(r, i).
  template <typename Destination, typename Scales>
  void multiply_apart(const Block& block, const IntegerLinear<Number>& linear, int64_t limit, const IntegerRows<Number>& x, const std::vector<Columns>& columns,
                      Destination destination, Scales scales) {
    SumRows<Number>& z = room_.z;
    linear(x, block.first, block.count, how_, false, z);
    if (one_scale_ && z.rows() > 0) {
      Scale common = z.scale(0);
      for (int64_t r = 1; r < z.rows(); ++r) common = smaller(common, z.scale(r));
      for (int64_t r = 0; r < z.rows(); ++r) z.match(r, common, how_);
      for (size_t i = 0; i < columns.size(); ++i) {
        const Columns& part = columns[i];
        SumOf<Number> largest = 0;
        for (int64_t r = 0; r < z.rows(); ++r) largest = std::max(largest, kernels().largest(z.row(r) + part.first, part.width));
        const kernel::Rescaled all = how_(largest, limit, common);
        for (int64_t r = 0; r < z.rows(); ++r) {
          kernels().narrow(z.row(r) + part.first, all.factor, destination(block.first + r, i), part.width);
          *scales(block.first + r, i) = all.scale;
        }
      }
      return;
    }
    for (int64_t r = 0; r < z.rows(); ++r) {
      for (size_t i = 0; i < columns.size(); ++i) {
        const int64_t width = columns[i].width / columns[i].groups;
        for (int64_t g = 0; g < columns[i].groups; ++g) {
          const SumOf<Number>* from = z.row(r) + columns[i].first + g * width;
          const kernel::Rescaled own = how_(kernels().largest(from, width), limit, z.scale(r));
          kernels().narrow(from, own.factor, destination(block.first + r, i) + g * width, width);
          scales(block.first + r, i)[g] = own.scale;
        }
      }
    }
  }

  /// One query to its keys -> row `to` of sums.
  void attend(const std::vector<typename IntegerAttention<Number>::Head>& heads, const Number* q, const Scale* q_scales, const Number* const* keys,
              const KeyScales& scales, int64_t count, const KeyShape& shape, int64_t limit, int64_t to) {
    room_.z.scale(to) = room_.attention(heads, q, q_scales, keys, scales, count, shape, limit, how_, room_.z.row(to), &room_.z.largest(to));
  }

  /// Room for the scales of keys that are matched for one query.
  KeyScales& matched() { return room_.matched; }

  /// The real numbers out [block.count, outputs] = x weight^T + bias; null: no bias.
  void make_real(const Block& block, const IntegerMatrix<Number>& weight, const float* bias, const IntegerRows<Number>& x, float* out) {
    weight.multiply_real(x, block.first, block.count, bias, room_.row_scales, out);
  }

 private:
  static const kernel::IntegerKernels<Number>& kernels() { return kernel::integer_kernels<Number>(); }

  const Requantising& how_;
  bool one_scale_;
  BlockRoom<Number>& room_;
};

}  // namespace seqmill::infer
