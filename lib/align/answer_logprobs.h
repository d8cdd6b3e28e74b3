#pragma once
// Log-probabilities of answers: of a batch, and of all data by the model that a training begins with, which are kept.

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "align/tree_batches.h"
#include "data/prompt_trees.h"
#include "model/lm.h"
#include "tensor/dropout.h"
#include "train/ranks.h"

namespace seqmill::align {

/// log p of each ending of a batch, summed over its tokens: [endings] float64, with a graph where gradients are on. `stream` null: evaluation.
at::Tensor ending_logprobs(const model::Lm& model, const data::TreeBatch& batch, tensor::DropoutStream* stream);

/// The model that answers are compared by with the one that is trained.
struct ReferenceModel {
  std::string path;             ///< as model::load_lm takes it
  at::Device device = at::kCPU;
  bool resumes = false;         ///< the training has begun: what was computed then holds, whatever became of the model
};

/// Data by name; the trees of each have as many endings.
using TreeSets = std::map<std::string, Trees>;
/// Of each [trees, endings] float64, on the CPU.
using ReferenceLogprobs = std::map<std::string, at::Tensor>;

/// Rank 0 computes them, in evaluation mode and float32, by about `batch_tokens` tokens at a time, unless the file `cache` holds those of
/// this data and model already; the others read that. Throws Error for a log-probability that is not finite. `progress`: a status line.
ReferenceLogprobs reference_logprobs(const ReferenceModel& model, const TreeSets& sets, int64_t batch_tokens, const std::string& cache,
                                     bool progress, train::Ranks& ranks);

}  // namespace seqmill::align
