// Clipped steps whose baseline is the group: no value head.

#include <ATen/ATen.h>

#include "rl/algorithm.h"

namespace seqmill::rl {
namespace {

class Grpo final : public Algorithm {
 public:
  void set_defaults(RolloutDefaults& defaults) const override {
    defaults.candidates = 8;
    defaults.advantage.baseline = "group-mean";
    defaults.advantage.normalise = "z";
  }
  void declare(Options& options) override {
    options.add("algorithm.clip", clip_, "How far the ratio of new to old probabilities may leave 1").range(0, 1);
    options.add("algorithm.beta", beta_, "Of the divergence from the reference model, within the loss").range(0);
  }
  bool needs_old_logprobs() const override { return true; }
  bool needs_reference() const override { return beta_ > 0; }

  /// Shao et al., 2024, eq. 3 and 4: of each candidate the mean over its tokens of min(ratio A, clip(ratio) A) - beta (r - log r - 1) with r = p_reference / p; over candidates.
  PolicyLoss loss(const ScoredCandidates& c) const override {
    const at::Tensor ratios = at::exp(c.logprobs - c.old_logprobs), advantages = spread_to_tokens(c.advantages.to(ratios.options()), c.lengths);
    at::Tensor gains = at::min(ratios * advantages, ratios.clamp(1 - clip_, 1 + clip_) * advantages);
    if (c.reference_logprobs.defined() && beta_ > 0) {
      const at::Tensor difference = c.reference_logprobs - c.logprobs;
      gains = gains - beta_ * (at::exp(difference) - difference - 1);
    }
    const at::Tensor lengths = at::tensor(c.lengths, at::kLong).to(gains.options());
    return {-(sum_by_candidate(gains, c.lengths) / lengths).sum(), static_cast<double>(c.count())};
  }

  double weight_of(int64_t, int64_t candidates, int64_t) const override { return static_cast<double>(candidates); }

 private:
  double clip_ = 0.2, beta_ = 0.04;
};

const Registration<AlgorithmType> registered{
    "grpo", {"Shao et al., 2024, DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models", [] { return std::make_unique<Grpo>(); }}};

}  // namespace
}  // namespace seqmill::rl
