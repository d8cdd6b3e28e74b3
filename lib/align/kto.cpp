#include "align/preference_loss.h"

namespace seqmill::align {
namespace {

/// Section 4.2, for a pair as one desirable and one undesirable answer, which count half each: lambda_D (1 - sigma(beta (r_chosen - z0))) and
/// lambda_U (1 - sigma(beta (z0 - r_rejected))), r = log(p / p_reference). The reference point z0 is the mean r of the batch's answers to other prompts, at least 0, without gradient.
class Kto final : public PreferenceLoss {
 public:
  void declare(Options& options) override {
    options.add("loss.beta", beta_, "Scale of implicit rewards beta log(p / p_reference)").range(1e-6);
    options.add("loss.lambda-d", desirable_, "Weight of chosen answers").range(0);
    options.add("loss.lambda-u", undesirable_, "Weight of rejected answers").range(0);
  }
  bool needs_mismatched() const override { return true; }

  PreferenceValues of(const PreferenceBatch& batch) const override {
    const at::Tensor chosen = log_ratio(batch.chosen), rejected = log_ratio(batch.rejected);
    const at::Tensor point = log_ratio(batch.mismatched).detach().mean().clamp_min(0);
    const at::Tensor gains = desirable_ * (1 - at::sigmoid(beta_ * (chosen - point))), pains = undesirable_ * (1 - at::sigmoid(beta_ * (point - rejected)));
    return {(gains + pains) / 2, (beta_ * chosen).detach(), (beta_ * rejected).detach()};
  }

 private:
  double beta_ = 0.1, desirable_ = 1, undesirable_ = 1;
};

const Registration<PreferenceLossType> registered{
    "kto", {"Ethayarajh et al., 2024, KTO: Model Alignment as Prospect Theoretic Optimization", [] { return std::make_unique<Kto>(); }}};

}  // namespace
}  // namespace seqmill::align
