#pragma once
// Several models searched as one.

#include <memory>
#include <vector>

#include "search/step_decoder.h"

namespace seqmill::search {

/// Averages the probabilities of its members: log sum_m w_m p_m(token) with the weights scaled to sum 1. Members
/// share vocabulary and sentences. Each step costs one exp per member and one log per entry beyond the members'
/// own steps.
class Ensemble final : public StepDecoder {
 public:
  /// `weights` is empty (all equal) or has one positive number per member. Throws Error when there is no member,
  /// or when members differ in vocabulary size or number of sentences.
  explicit Ensemble(std::vector<std::unique_ptr<StepDecoder>> members, std::vector<double> weights = {});

  int64_t sentences() const override;
  int64_t vocabulary_size() const override;
  float* advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) override;

 private:
  std::vector<std::unique_ptr<StepDecoder>> members_;
  std::vector<float> weights_;  // as given, without scaling
  float total_ = 0;
};

}  // namespace seqmill::search
