#pragma once
// Log-probabilities of answers.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "align/tree_batches.h"
#include "data/prompt_trees.h"
#include "model/lm.h"
#include "tensor/dropout.h"
#include "train/ranks.h"

namespace seqmill::align {

/// log p of each ending of a batch, summed over its tokens: [endings] float64, with a graph where gradients are on. `stream` null: evaluation.
at::Tensor ending_logprobs(const model::Lm& model, const data::TreeBatch& batch, tensor::DropoutStream* stream);

/// Data by name; the trees of each have as many endings.
using TreeSets = std::map<std::string, Trees>;
/// Of each [trees, endings] float64, on the CPU.
using TreeLogprobs = std::map<std::string, at::Tensor>;

/// Uninitialised, for these data.
TreeLogprobs empty_logprobs(const TreeSets& sets);

/// Of all data, in evaluation mode, by about `batch_tokens` tokens at a time. Each rank takes a share, for which the model must be the same on all; all get the whole. Throws Error for a
/// log-probability that is not finite. `progress`: a status line, else messages now and then.
TreeLogprobs all_logprobs(const model::Lm& model, const TreeSets& sets, int64_t batch_tokens, bool progress, train::Ranks& ranks);

}  // namespace seqmill::align
