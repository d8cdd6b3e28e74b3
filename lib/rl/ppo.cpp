// Steps that stay near the policy that drew the candidates.

#include <ATen/ATen.h>

#include "rl/algorithm.h"

namespace seqmill::rl {
namespace {

class Ppo final : public Algorithm {
 public:
  void set_defaults(RolloutDefaults& defaults) const override {
    defaults.candidates = 1;
    defaults.passes = 4;
  }
  void declare(Options& options) override {
    options.add("algorithm.clip", clip_, "How far the ratio of new to old probabilities may leave 1").range(0, 1);
    options.add("algorithm.value-clip", value_clip_, "How far values may leave those of the rollout; 0: as they are").range(0);
    options.add("algorithm.value-weight", value_weight_, "Of the squared error of the value head").range(0);
  }
  bool needs_old_logprobs() const override { return true; }
  bool needs_values() const override { return true; }

  /// Schulman et al., 2017, eq. 7 and 9, averaged over tokens.
  PolicyLoss loss(const ScoredCandidates& c) const override {
    const at::Tensor ratios = at::exp(c.logprobs - c.old_logprobs), advantages = c.advantages.to(ratios.options());
    const at::Tensor policy = -at::min(ratios * advantages, ratios.clamp(1 - clip_, 1 + clip_) * advantages).sum();
    at::Tensor errors = at::square(c.values - c.returns);
    if (value_clip_ > 0) errors = at::max(errors, at::square(c.old_values + (c.values - c.old_values).clamp(-value_clip_, value_clip_) - c.returns));
    return {policy + value_weight_ * errors.sum(), static_cast<double>(c.logprobs.size(0))};
  }

  double weight_of(int64_t, int64_t, int64_t tokens) const override { return static_cast<double>(tokens); }

 private:
  double clip_ = 0.2, value_clip_ = 0.2, value_weight_ = 0.5;
};

const Registration<AlgorithmType> registered{"ppo", {"Schulman et al., 2017, Proximal Policy Optimization Algorithms", [] { return std::make_unique<Ppo>(); }}};

}  // namespace
}  // namespace seqmill::rl
