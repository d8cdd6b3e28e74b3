#pragma once
// Batches of language models, and the order in which a stream of tokens is seen.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "data/batches.h"
#include "text/chat.h"

namespace seqmill::data {

/// What model::Lm::loss takes.
struct LmBatch {
  PackedTokens input;
  at::Tensor rows;     ///< [M] int64: the rows of the input whose next token counts; undefined: all
  at::Tensor targets;  ///< [M] int64: those next tokens
  int64_t target_tokens() const { return targets.size(0); }
  int64_t input_tokens() const { return input.tokens.size(0); }
  void to(at::Device device);
};

/// Of sequences of at least two tokens, each predicted from its second token on.
LmBatch make_lm_batch(const std::vector<Tokens>& sequences);
/// Likewise; of the tokens, those that are learned count.
LmBatch make_lm_batch(const std::vector<text::ChatTokens>& conversations);

/// One epoch over a stream of `tokens` tokens, at least two. From a random place among its first `window` tokens on, windows follow one another that each
/// show a model `window` tokens, the last one fewer: each token behind that place is predicted once. Windows are shuffled (stream "data", sub-stream epoch) and
/// put together to batches of at most batch_tokens tokens, or of one window. The items of a plan are the places where windows begin.
BatchPlan plan_stream(int64_t tokens, int64_t window, const BatchOrder& order, int64_t epoch);

/// Where the window that begins at `begin` ends, behind the last token that is predicted in it.
int64_t window_end(int64_t begin, int64_t window, int64_t tokens);

}  // namespace seqmill::data
