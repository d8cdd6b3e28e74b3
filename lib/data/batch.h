#pragma once
// A batch of sentence pairs as the models take it: packed token rows, no padding.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "tensor/attention.h"

namespace seqmill::data {

using Tokens = std::vector<int32_t>;

/// One side: the sequences one after another.
struct PackedTokens {
  at::Tensor tokens;     ///< [N] int64
  at::Tensor positions;  ///< [N] int64, from 0 in each sequence
  tensor::Spans spans;
  /// Where sequences share their beginnings (data/prompt_trees.h): the rows whose keys and values they see, sequence by sequence; the last keys of a sequence are
  /// those of its own rows. Undefined: each sees its own rows.
  at::Tensor key_rows;      ///< [K] int64
  tensor::Spans key_spans;  ///< of those, one for each of `spans`
  int64_t count() const { return spans.count(); }
  void to(at::Device device);
};

/// Packs sequences, each with `first` before it and `last` after it (-1: nothing).
PackedTokens pack(const std::vector<Tokens>& sequences, int32_t first, int32_t last);

struct Batch {
  PackedTokens source;        ///< tokens, end symbol
  PackedTokens target_input;  ///< begin symbol, tokens
  at::Tensor target_output;   ///< [M] int64: tokens, end symbol; the row below each input row
  /// Where several targets share a source: the rows of the encoder that each target sees, target by target. Undefined: target i sees source i.
  at::Tensor source_rows;      ///< [K] int64
  tensor::Spans source_spans;  ///< of those, one a target
  int64_t target_tokens() const { return target_output.size(0); }
  int64_t source_tokens() const { return source.tokens.size(0); }
  void to(at::Device device);
};

/// The batch of these pairs. `bos` and `eos` as the vocabulary has them.
Batch make_batch(const std::vector<Tokens>& sources, const std::vector<Tokens>& targets, int32_t source_eos, int32_t bos,
                 int32_t eos);

struct PromptTree;  // data/prompt_trees.h

/// The batch of a source and several targets each, as a tree has them: prompts are sources without their end symbol, endings are targets as they are, with an end symbol or, where they were cut
/// off, without.
Batch make_batch(const std::vector<const PromptTree*>& trees, int32_t source_eos, int32_t bos);

}  // namespace seqmill::data
