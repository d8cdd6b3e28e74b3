#pragma once
// Losses of the margin between two implicit rewards.

#include "align/preference_loss.h"

namespace seqmill::align {

class MarginLoss : public PreferenceLoss {
 public:
  void declare(Options& options) override;
  PreferenceValues of(const PreferenceBatch& batch) const override;

 protected:
  /// [B] -> [B]
  virtual at::Tensor of_margin(const at::Tensor& margin) const = 0;
  virtual at::Tensor reward(const AnswerLogprobs& answers) const;
  double beta() const { return beta_; }

 private:
  double beta_ = 0.1;
};

}  // namespace seqmill::align
