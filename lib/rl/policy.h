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
  at::Tensor values;    ///< [M] of the value head: what is expected of the rest; undefined without one
};

class Policy {
 public:
  virtual ~Policy() = default;
  virtual nn::Parameters& parameters() = 0;
  virtual model::OutputLayer output_layer() const = 0;
  /// Inputs are encoded once for all of their candidates. `stream` null: without dropout, which alone gives the log-probabilities that candidates were drawn with.
  virtual TokenScores score(const std::vector<const Candidates*>& inputs, tensor::DropoutStream* stream) const = 0;
};

/// `with_values`: a value head is added to the parameters of the model, of zeros.
std::unique_ptr<Policy> make_policy(std::shared_ptr<model::Seq2Seq> model, int32_t source_eos, int32_t bos, bool with_values = false);
std::unique_ptr<Policy> make_policy(std::shared_ptr<model::Lm> model, bool with_values = false);

}  // namespace seqmill::rl
