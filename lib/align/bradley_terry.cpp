// The better answer beats the worse one with the probability sigma(difference of their scores).

#include <ATen/ATen.h>

#include "align/objective.h"

namespace seqmill::align {

at::Tensor bradley_terry(const at::Tensor& differences, double eps) { return -at::log_sigmoid(differences) + eps * differences; }

namespace {

class BradleyTerry final : public Objective {
 public:
  void declare(Options& options) override { smoothing_.declare(options); }
  void check() const override { smoothing_.check(); }
  at::Tensor losses(const ScoredBatch& batch) const override {
    const ScoredPairs pairs = pairs_of(batch);
    return mean_by_comparison(batch, pairs, bradley_terry(pairs.differences, smoothing_.weight()));
  }

 private:
  Smoothing smoothing_;
};

const Registration<ObjectiveType> registered{
    "bradley-terry", {"Bradley & Terry, 1952; Ouyang et al., 2022, Training language models to follow instructions with human feedback", [] { return std::make_unique<BradleyTerry>(); }}};

}  // namespace
}  // namespace seqmill::align
