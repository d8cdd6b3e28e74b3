#pragma once
// Scaled dot-product attention (Vaswani et al., 2017, eq. 1) over packed sequences. A batch is one matrix of token rows without
// padding; spans say which rows belong to which sequence.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "tensor/dropout.h"

namespace seqmill::tensor {

/// Sequence s has the rows begin[s] .. begin[s] + length[s] - 1. Spans of queries are packed; spans of keys may overlap or leave rows out
/// (caches).
struct Spans {
  std::vector<int64_t> begin, length;
  int64_t count() const { return static_cast<int64_t>(length.size()); }
  int64_t rows() const;  ///< sum of the lengths
  /// Sequences one after another.
  static Spans packed(std::vector<int64_t> lengths);
};

/// Weights without exponentials, for one bias and one delta a head: kernel::Polynomial. Degree 0: softmax.
struct Polynomial {
  int64_t degree = 0;
  at::Tensor bias, delta;  ///< [heads]
};

struct AttentionSettings {
  int64_t heads = 1;
  bool causal = false;
  double dropout = 0;               ///< on the attention weights
  DropoutStream* stream = nullptr;  ///< null: no dropout
  Polynomial polynomial = {};
};

/// qkv [N, 3D] (queries, keys, values side by side) -> [N, D].
at::Tensor self_attention(const at::Tensor& qkv, const Spans& spans, const AttentionSettings& settings);

/// Queries q [N, D] of the sequences `q_spans` over keys and values kv [M, 2D] of the sequences `kv_spans` -> [N, D].
at::Tensor cross_attention(const at::Tensor& q, const Spans& q_spans, const at::Tensor& kv, const Spans& kv_spans,
                           const AttentionSettings& settings);

/// Rotary position embedding (Su et al., 2021, eq. 34) of the first `parts` blocks of D columns of x [N, parts' * D]; positions [N] int64.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, int64_t dim, int64_t heads, int64_t parts);

}  // namespace seqmill::tensor
