// Whole rankings: the probability that answers are drawn best first, each in proportion to exp(score).

#include <ATen/ATen.h>

#include "align/objective.h"

namespace seqmill::align {

at::Tensor plackett_luce(const at::Tensor& scores, const std::vector<double>& merits) {
  at::Tensor sum = at::zeros({}, scores.options().requires_grad(false));
  for (size_t i = 0; i < merits.size(); ++i) {
    std::vector<int64_t> remaining{static_cast<int64_t>(i)};
    for (size_t j = 0; j < merits.size(); ++j) {
      if (merits[j] < merits[i]) remaining.push_back(static_cast<int64_t>(j));
    }
    if (remaining.size() == 1) continue;  // nothing is worse
    const at::Tensor rest = scores.index_select(0, at::tensor(remaining, at::kLong).to(scores.device()));
    sum = sum + at::logsumexp(rest, {0}) - rest[0];
  }
  return sum;
}

namespace {

class List final : public Objective {
 public:
  at::Tensor losses(const ScoredBatch& batch) const override {
    std::vector<at::Tensor> all;
    int64_t first = 0;
    for (size_t c = 0; c < batch.judged.size(); ++c) {
      all.push_back(plackett_luce(batch.scores.select(1, 0).narrow(0, first, batch.counts[c]), batch.judged[c]->merits));
      first += batch.counts[c];
    }
    return at::stack(all);
  }
};

const Registration<ObjectiveType> registered{
    "list", {"Plackett, 1975; Luce, 1959; Xia et al., 2008, Listwise Approach to Learning to Rank", [] { return std::make_unique<List>(); }}};

}  // namespace
}  // namespace seqmill::align
