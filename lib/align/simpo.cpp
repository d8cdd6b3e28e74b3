#include "align/preference_loss.h"

namespace seqmill::align {
namespace {

/// Equation 6: -log sigma(beta / |chosen| log p(chosen) - beta / |rejected| log p(rejected) - gamma).
class Simpo final : public PreferenceLoss {
 public:
  void declare(Options& options) override {
    options.add("loss.beta", beta_, "Scale of rewards, which are log-probabilities per token").range(1e-6);
    options.add("loss.gamma", gamma_, "By how much the chosen reward is to exceed the rejected one").range(0);
  }
  bool needs_reference() const override { return false; }

  PreferenceValues of(const PreferenceBatch& batch) const override {
    const at::Tensor chosen = beta_ * mean_logprob(batch.chosen), rejected = beta_ * mean_logprob(batch.rejected);
    return {-at::log_sigmoid(chosen - rejected - gamma_), chosen.detach(), rejected.detach()};
  }

 private:
  double beta_ = 2, gamma_ = 1;
};

const Registration<PreferenceLossType> registered{
    "simpo", {"Meng et al., 2024, SimPO: Simple Preference Optimization with a Reference-Free Reward", [] { return std::make_unique<Simpo>(); }}};

}  // namespace
}  // namespace seqmill::align
