#include "search/ensemble.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/exponential.h"

namespace seqmill::search {

Ensemble::Ensemble(std::vector<std::unique_ptr<StepDecoder>> members, std::vector<double> weights)
    : members_(std::move(members)) {
  if (members_.empty()) fail("an ensemble needs at least one model");
  if (weights.empty()) weights.assign(members_.size(), 1.0);
  if (weights.size() != members_.size()) {
    fail("an ensemble of {} models has {} weights", members_.size(), weights.size());
  }
  for (size_t m = 0; m < members_.size(); ++m) {
    if (members_[m]->vocabulary_size() != vocabulary_size()) {
      fail("model {} of the ensemble has a vocabulary of {}, the first one of {}", m + 1,
           members_[m]->vocabulary_size(), vocabulary_size());
    }
    if (members_[m]->sentences() != sentences()) {
      fail("model {} of the ensemble holds {} sentences, the first one {}", m + 1, members_[m]->sentences(),
           sentences());
    }
    if (!(weights[m] > 0 && std::isfinite(weights[m]))) {
      fail("the weight of model {} of the ensemble is {}; expected a positive number", m + 1, weights[m]);
    }
    weights_.push_back(static_cast<float>(weights[m]));
    total_ += weights_.back();
  }
}

int64_t Ensemble::sentences() const { return members_.front()->sentences(); }

int64_t Ensemble::vocabulary_size() const { return members_.front()->vocabulary_size(); }

float* Ensemble::advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) {
  std::vector<const float*> rows;
  float* first = members_.front()->advance(parents, tokens);
  for (size_t m = 1; m < members_.size(); ++m) rows.push_back(members_[m]->advance(parents, tokens));
  if (rows.empty()) return first;
  const size_t size = parents.size() * static_cast<size_t>(vocabulary_size());
  for (size_t i = 0; i < size; ++i) {
    float max = first[i];
    for (const float* row : rows) max = std::max(max, row[i]);
    // Relative to the largest, so that nothing vanishes. Impossible for all members is impossible; NaN goes
    // through the sum.
    const float base = max == -INFINITY ? 0.0f : max;
    float sum = weights_[0] * exp_of_negative(first[i] - base);
    for (size_t m = 1; m < weights_.size(); ++m) sum += weights_[m] * exp_of_negative(rows[m - 1][i] - base);
    // Dividing last makes equal members give their own value exactly.
    first[i] = base + std::log(sum / total_);
  }
  return first;
}

}  // namespace seqmill::search
