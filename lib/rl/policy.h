#pragma once
// What a model that learns from rewards is to the loop: stage 2 of two-stage sampling (ESRL), one teacher-forced pass over the candidates of stage 1.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "data/prompt_trees.h"
#include "model/lm.h"
#include "model/seq2seq.h"
#include "nn/parameters.h"
#include "tensor/dropout.h"

namespace seqmill::rl {

/// An input and its candidates: a source without its end symbol and targets, or a prompt and answers; candidates with what ended them, if anything did.
using Candidates = data::PromptTree;

/// Of every token of all candidates, one after another.
struct TokenScores {
  at::Tensor logprobs;  ///< [M] log p, with a graph where gradients are on; the model's own, at temperature 1
  at::Tensor states;    ///< [M, D] what the token was predicted from
};

class Policy {
 public:
  virtual ~Policy() = default;
  virtual nn::Parameters& parameters() = 0;
  virtual int64_t dim() const = 0;
  /// Inputs are encoded once for all of their candidates. `stream` null: without dropout, which alone gives the log-probabilities that candidates were drawn with.
  virtual TokenScores score(const std::vector<const Candidates*>& inputs, tensor::DropoutStream* stream) const = 0;
};

/// The models must outlive them.
std::unique_ptr<Policy> make_policy(model::Seq2Seq& model, int32_t source_eos, int32_t bos);
std::unique_ptr<Policy> make_policy(model::Lm& model);

}  // namespace seqmill::rl
