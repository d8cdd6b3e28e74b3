// The expected reward over a sample of outputs as if there were no others.

#include <ATen/ATen.h>

#include "rl/algorithm.h"

namespace seqmill::rl {
namespace {

class Mrt final : public Algorithm {
 public:
  void declare(Options& options) override { options.add("algorithm.alpha", alpha_, "Sharpness of the distribution over an input's candidates").range(0); }
  int64_t least_candidates() const override { return 2; }
  PolicyLoss loss(const ScoredCandidates& candidates) const override { return mrt_loss(candidates, alpha_); }

  double weight_of(int64_t inputs, int64_t, int64_t) const override { return static_cast<double>(inputs); }

 private:
  double alpha_ = 0.005;
};

const Registration<AlgorithmType> registered{"mrt", {"Shen et al., 2016, Minimum Risk Training for Neural Machine Translation", [] { return std::make_unique<Mrt>(); }}};

}  // namespace
}  // namespace seqmill::rl
