#include "align/margin_loss.h"

namespace seqmill::align {
namespace {

/// Equation 17: (h - 1 / (2 beta))^2, where h is the difference of log(p / p_reference) and beta the paper's tau.
class Ipo final : public MarginLoss {
 public:
  void declare(Options& options) override {
    MarginLoss::declare(options);
    options.add("loss.average", average_, "Log-probabilities per token instead of the paper's sums over an answer's tokens");
  }

 private:
  at::Tensor of_margin(const at::Tensor& margin) const override { return (margin / beta() - 1 / (2 * beta())).square(); }

  at::Tensor reward(const AnswerLogprobs& answers) const override {
    const at::Tensor sums = MarginLoss::reward(answers);
    return average_ ? sums / answers.tokens : sums;
  }

  bool average_ = false;
};

const Registration<PreferenceLossType> registered{
    "ipo", {"Azar et al., 2023, A General Theoretical Paradigm to Understand Learning from Human Preferences", [] { return std::make_unique<Ipo>(); }}};

}  // namespace
}  // namespace seqmill::align
