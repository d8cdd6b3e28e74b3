#pragma once
// Losses of the margin between two implicit rewards.

#include "align/preference_loss.h"

namespace seqmill::align {

class MarginLoss : public PreferenceLoss {
 public:
  void declare(Options& options) override {
    options.add("loss.beta", beta_, "Scale of implicit rewards beta log(p / p_reference): the larger, the closer the model stays to the reference").range(1e-6);
  }

  PreferenceValues of(const PreferenceBatch& batch) const override {
    const at::Tensor chosen = reward(batch.chosen), rejected = reward(batch.rejected);
    return {of_margin(chosen - rejected), chosen.detach(), rejected.detach()};
  }

 protected:
  /// [B] -> [B]
  virtual at::Tensor of_margin(const at::Tensor& margin) const = 0;
  virtual at::Tensor reward(const AnswerLogprobs& answers) const { return beta_ * log_ratio(answers); }
  double beta() const { return beta_; }

 private:
  double beta_ = 0.1;
};

}  // namespace seqmill::align
