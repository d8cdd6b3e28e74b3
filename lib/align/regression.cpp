// Scores of single answers, one head an aspect.

#include <ATen/ATen.h>

#include "align/objective.h"

namespace seqmill::align {

at::Tensor masked_squared_error(const at::Tensor& scores, const at::Tensor& labels) {
  const at::Tensor present = at::isfinite(labels);
  const at::Tensor errors = (scores - labels.masked_fill(present.logical_not(), 0)) * present.to(scores.scalar_type());
  return errors.pow(2).sum() / std::max<int64_t>(1, present.sum().item<int64_t>());
}

namespace {

class Regression final : public Objective {
 public:
  bool regresses() const override { return true; }

  at::Tensor losses(const ScoredBatch& batch) const override {
    std::vector<at::Tensor> all;
    int64_t first = 0;
    for (size_t c = 0; c < batch.judged.size(); ++c) {
      const at::Tensor labels = at::tensor(batch.judged[c]->labels, at::kDouble).view({batch.counts[c], batch.scores.size(1)}).to(batch.scores.options().requires_grad(false));
      all.push_back(masked_squared_error(batch.scores.narrow(0, first, batch.counts[c]), labels));
      first += batch.counts[c];
    }
    return at::stack(all);
  }
};

const Registration<ObjectiveType> registered{
    "regression", {"Wang et al., 2023, HelpSteer: scores of several aspects by squared error", [] { return std::make_unique<Regression>(); }}};

}  // namespace
}  // namespace seqmill::align
