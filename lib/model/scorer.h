#pragma once
// A language model that gives scores instead of tokens: reward models.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "model/lm.h"

namespace seqmill::model {

/// Scores are products of hidden states with the head, infer::kScoreHead in model files.
class Scorer {
 public:
  /// Adds the head to the parameters of `lm`: normal, of deviation 1 / sqrt(D + 1), where those are drawn.
  Scorer(std::unique_ptr<Lm> lm, int64_t heads);

  nn::Parameters& parameters() { return lm_->parameters(); }
  OutputLayer output_layer() const { return lm_->output_layer(); }
  const Lm& lm() const { return *lm_; }

  /// Of hidden states [M, D]: scores [M, heads].
  at::Tensor scores(const at::Tensor& states) const;
  /// Only the head learns.
  void freeze_lm();
  /// Nothing is predicted: an output layer of its own, which would have no gradient, and the weight decay for all that, does not learn. A tied one does.
  void leave_output_layer();
  /// Whether anything but the head learns.
  bool lm_learns() const;

 private:
  std::unique_ptr<Lm> lm_;
  at::Tensor head_;
};

/// Gives the scorer the head of the model at `path`, if it has one of this shape. Returns whether it has.
bool initialise_head_from(const std::string& path, Scorer& scorer);

}  // namespace seqmill::model
