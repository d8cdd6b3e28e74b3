#pragma once
// How sure a model is of what comes next.

#include <cstdint>

namespace seqmill::search {

/// Of the steps of one output, the last one included, by the model's own distributions: without temperature, penalty and truncation.
struct StepStatistics {
  double entropy = 0;  ///< sum of the entropies, in nats
  double peaks = 0;    ///< sum of q exp(q), q being the largest probability of a step
  int64_t steps = 0;

  /// One more step: log-probabilities of all `vocabulary` tokens, -infinity for none.
  void add(const float* logprobs, int64_t vocabulary);
};

}  // namespace seqmill::search
