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
  int64_t window = 0;               ///< of causal attention: a query sees so many keys, the last of them; 0: all
  int64_t kv_heads = 0;             ///< heads of keys and values, each for as many heads of queries in a row (Ainslie et al., 2023); 0: as many as heads
};

/// Of the scores of polynomial attention: those that it cuts off (score + bias <= 0) have no gradient. A query all of whose scores are cut off looks at everything alike, by
/// |delta| alone, and learns nothing of where to look.
struct CutScores {
  int64_t scores = 0, cut = 0;      ///< of keys that their queries may see
  int64_t queries = 0, blind = 0;   ///< blind: all their scores are cut off; each head counts its own
};

/// While one exists, all polynomial attention outside of training is counted, by all threads, at the price of computing it twice. One at a time.
class CutScoreWatch {
 public:
  CutScoreWatch();
  ~CutScoreWatch();
  CutScoreWatch(const CutScoreWatch&) = delete;
  CutScoreWatch& operator=(const CutScoreWatch&) = delete;
  CutScores counts() const;
};

/// qkv [N, D + 2E] (queries, keys, values side by side, D and E being the widths of heads and kv_heads) -> [N, D].
at::Tensor self_attention(const at::Tensor& qkv, const Spans& spans, const AttentionSettings& settings);

/// Where sequences share their beginnings: sequence s of `spans` sees the keys and values of the rows key_rows [K] int64 that `key_spans` gives it; of causal attention, the last of them are its own.
at::Tensor self_attention(const at::Tensor& qkv, const Spans& spans, const at::Tensor& key_rows, const Spans& key_spans, const AttentionSettings& settings);

/// Queries q [N, D] of the sequences `q_spans` over keys and values kv [M, 2E] of the sequences `kv_spans` -> [N, D].
at::Tensor cross_attention(const at::Tensor& q, const Spans& q_spans, const at::Tensor& kv, const Spans& kv_spans,
                           const AttentionSettings& settings);

}  // namespace seqmill::tensor
