#pragma once
// Batches of prompts that several texts go on with: the answers that are compared with each other. A prompt's rows are computed once for all of its endings.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "data/batch.h"

namespace seqmill::data {

struct PromptTree {
  Tokens prompt;                ///< at least one token
  std::vector<Tokens> endings;  ///< at least one, each of at least one token
  int64_t tokens() const;       ///< of the prompt, and of all endings
};

enum class LastTokens {
  kRead,      ///< the model reads the endings whole: their last rows are asked for
  kPredicted  ///< the last token of each ending is predicted only
};

/// What becomes of a prompt with several endings. A model whose tokens see what is before them gives the same for all, but for rounding.
enum class Prompts {
  kShared,  ///< its rows are computed once
  kCopied,  ///< each ending has a copy of it
  kApart    ///< shared, and its rows see no ending: for models whose tokens see whole texts
};

/// The endings of a batch, tree by tree.
struct TreeBatch {
  PackedTokens input;
  std::vector<int64_t> counts;   ///< endings of each tree
  std::vector<int64_t> lengths;  ///< tokens of each ending
  at::Tensor last;               ///< [endings] int64: the row of the last token of each; with LastTokens::kRead
  at::Tensor read;               ///< [sum of lengths] int64: the row of every token of the endings; with LastTokens::kRead
  at::Tensor rows, targets;      ///< [sum of lengths] int64: of every token of the endings the row that it is predicted from, and the token
  int64_t endings() const { return static_cast<int64_t>(lengths.size()); }
  int64_t input_tokens() const { return input.tokens.size(0); }
  void to(at::Device device);
};

TreeBatch make_tree_batch(const std::vector<const PromptTree*>& trees, LastTokens last, Prompts prompts = Prompts::kShared);

}  // namespace seqmill::data
