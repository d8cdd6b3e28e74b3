#include "align/preference_loss.h"

namespace seqmill::align {
namespace {

// The odds of a certain answer are infinite.
constexpr double kLargestLogprob = -1e-6;

/// log(P / (1 - P)), where P is the geometric mean of the tokens' probabilities (equations 3 and 4).
at::Tensor log_odds(const AnswerLogprobs& answers) {
  const at::Tensor logprob = mean_logprob(answers).clamp_max(kLargestLogprob);
  return logprob - at::log(-at::expm1(logprob));
}

/// Equation 6: the cross-entropy of the chosen answer per token, and lambda times -log sigma(log odds(chosen) - log odds(rejected)).
class Orpo final : public PreferenceLoss {
 public:
  void declare(Options& options) override { options.add("loss.lambda", lambda_, "Weight of the odds ratio beside the cross-entropy of the chosen answer").range(0); }
  bool needs_reference() const override { return false; }

  PreferenceValues of(const PreferenceBatch& batch) const override {
    const at::Tensor chosen = log_odds(batch.chosen), rejected = log_odds(batch.rejected);
    return {-mean_logprob(batch.chosen) - lambda_ * at::log_sigmoid(chosen - rejected), chosen.detach(), rejected.detach()};
  }

 private:
  double lambda_ = 0.1;
};

const Registration<PreferenceLossType> registered{
    "orpo", {"Hong et al., 2024, ORPO: Monolithic Preference Optimization without Reference Model", [] { return std::make_unique<Orpo>(); }}};

}  // namespace
}  // namespace seqmill::align
