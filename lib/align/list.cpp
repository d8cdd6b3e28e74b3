// Whole rankings: the probability that answers are drawn best first, each in proportion to exp(score).

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

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
  /// plackett_luce() of all comparisons: each answer that something is worse than, against what it is compared with, in a row of a padded matrix.
  at::Tensor losses(const ScoredBatch& batch) const override {
    int64_t longest = 1;
    for (const int64_t count : batch.counts) longest = std::max(longest, count);
    std::vector<int64_t> owners, winners, compared;
    std::vector<uint8_t> absent;
    int64_t first = 0;
    for (size_t c = 0; c < batch.judged.size(); ++c) {
      const std::vector<double>& merits = batch.judged[c]->merits;
      for (size_t i = 0; i < merits.size(); ++i) {
        if (merits[i] == *std::min_element(merits.begin(), merits.end())) continue;
        owners.push_back(static_cast<int64_t>(c));
        winners.push_back(first + static_cast<int64_t>(i));
        for (size_t j = 0; j < static_cast<size_t>(longest); ++j) {
          const bool is_there = j == i || (j < merits.size() && merits[j] < merits[i]);
          compared.push_back(is_there ? first + static_cast<int64_t>(j) : 0);
          absent.push_back(is_there ? 0 : 1);
        }
      }
      first += batch.counts[c];
    }
    const at::Tensor scores = batch.scores.select(1, 0);
    const auto rows = [&](const std::vector<int64_t>& index) { return at::tensor(index, at::kLong).to(scores.device()); };
    const auto count = static_cast<int64_t>(winners.size());
    const at::Tensor hidden = at::tensor(absent, at::kByte).to(scores.device(), at::kBool).view({count, longest});
    const at::Tensor against = scores.index_select(0, rows(compared)).view({count, longest}).masked_fill(hidden, -std::numeric_limits<double>::infinity());
    const at::Tensor terms = at::logsumexp(against, {1}) - scores.index_select(0, rows(winners));
    return at::zeros({static_cast<int64_t>(batch.judged.size())}, terms.options().requires_grad(false)).index_add(0, rows(owners), terms);
  }
};

const Registration<ObjectiveType> registered{
    "list", {"Plackett, 1975; Luce, 1959; Xia et al., 2008, Listwise Approach to Learning to Rank", [] { return std::make_unique<List>(); }}};

}  // namespace
}  // namespace seqmill::align
