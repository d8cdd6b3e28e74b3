#pragma once
// A language model that gives scores instead of tokens: reward models, and learned metrics.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "data/prompt_trees.h"
#include "infer/language_model.h"
#include "model/lm.h"

namespace seqmill::model {

/// What makes scores of the states that stand for texts. Its tensors are parameters of the model, with names that infer::is_score_head() knows.
class ScoreHead {
 public:
  virtual ~ScoreHead() = default;
  /// Of how many texts, one behind another, a score is made.
  virtual int64_t texts() const { return 1; }
  /// [M * texts(), D] -> [M, heads]
  virtual at::Tensor scores(const at::Tensor& states) const = 0;
};

/// Adds a head for states of D numbers to the parameters, drawn where those are drawn.
using ScoreHeadMaker = std::function<std::unique_ptr<ScoreHead>(nn::Parameters& parameters, int64_t dim)>;

/// One tensor [heads, D], "score.weight", as Hugging Face's models for the classification of sequences have it: normal, of deviation 1 / sqrt(D + 1).
ScoreHeadMaker linear_head(int64_t heads);

class Scorer {
 public:
  Scorer(std::unique_ptr<Lm> lm, infer::Pooling pooling, const ScoreHeadMaker& make_head);

  nn::Parameters& parameters() { return lm_->parameters(); }
  OutputLayer output_layer() const { return lm_->output_layer(); }
  const Lm& lm() const { return *lm_; }
  int64_t texts() const { return head_->texts(); }
  bool sees_all() const { return lm_->sees_all(); }

  /// Of hidden states [N, D] of a batch's rows: scores [endings / texts(), heads].
  at::Tensor scores(const at::Tensor& states, const data::TreeBatch& batch) const;
  /// Only the head learns.
  void freeze_lm();
  /// Nothing is predicted: an output layer of its own, which would have no gradient, and the weight decay for all that, does not learn. A tied one does.
  void leave_output_layer();
  /// Whether anything but the head learns.
  bool lm_learns() const { return lm_learns_; }

 private:
  std::unique_ptr<Lm> lm_;
  infer::Pooling pooling_;
  std::unique_ptr<ScoreHead> head_;
  bool lm_learns_ = true;
};

/// Gives the scorer the head of the model at `path`, if it has one of this kind. Returns whether it has. Throws Error for one of another shape.
bool initialise_head_from(const std::string& path, Scorer& scorer);

}  // namespace seqmill::model
