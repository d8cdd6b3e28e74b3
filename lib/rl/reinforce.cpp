// The gradient of the expected reward by samples.

#include <ATen/ATen.h>

#include "rl/algorithm.h"

namespace seqmill::rl {
namespace {

class Reinforce final : public Algorithm {
 public:
  void declare(Options& options) override { importance_.declare(options); }
  PolicyLoss loss(const ScoredCandidates& candidates) const override { return reinforce_loss(candidates, importance_.weights(candidates)); }

  double weight_of(int64_t, int64_t candidates, int64_t) const override { return static_cast<double>(candidates); }

 private:
  ImportanceOptions importance_;
};

const Registration<AlgorithmType> registered{
    "reinforce", {"Williams, 1992, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", [] { return std::make_unique<Reinforce>(); }}};

}  // namespace
}  // namespace seqmill::rl
