// Efficient sampling: how many candidates at what temperature follows of the model's capability, and a queue of rewards is the baseline.

#include <ATen/ATen.h>

#include "rl/algorithm.h"

namespace seqmill::rl {
namespace {

class Esrl final : public Algorithm {
 public:
  void set_defaults(RolloutDefaults& defaults) const override {
    defaults.dynamic.capability = "reward";
    defaults.advantage.baseline = "fifo-z";
  }
  void declare(Options& options) override {
    options.add("algorithm.loss", form_, "What candidates and advantages become: reinforce, or mrt as in public code").one_of({"reinforce", "mrt"});
    options.add("algorithm.alpha", alpha_, "Of mrt: sharpness of the distribution over an input's candidates").range(0);
    importance_.declare(options);
  }
  int64_t least_candidates() const override { return form_ == "mrt" ? 2 : 1; }
  PolicyLoss loss(const ScoredCandidates& candidates) const override {
    return form_ == "mrt" ? mrt_loss(candidates, alpha_) : reinforce_loss(candidates, importance_.weights(candidates));
  }

  double weight_of(int64_t inputs, int64_t candidates, int64_t) const override { return static_cast<double>(form_ == "mrt" ? inputs : candidates); }

 private:
  std::string form_ = "reinforce";
  double alpha_ = 0.005;
  ImportanceOptions importance_;
};

const Registration<AlgorithmType> registered{
    "esrl", {"Wang et al., 2024, ESRL: Efficient Sampling-based Reinforcement Learning for Sequence Generation", [] { return std::make_unique<Esrl>(); }}};

}  // namespace
}  // namespace seqmill::rl
