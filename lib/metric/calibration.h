#pragma once
// How far probabilities of being right can be believed.

#include <cstddef>
#include <vector>

namespace seqmill::metric {

/// Of choices between two, each made with some probability for the right one.
struct Calibration {
  /// Expected calibration error (Guo et al., 2017, "On Calibration of Modern Neural Networks", eq. 3): confidences, which are the probabilities of what was chosen, in
  /// equal bins from 0.5 to 1. A probability of 0.5 chooses nothing and counts half.
  double ece = 0;
  double brier = 0;  ///< mean of (1 - probability)^2 (Brier, 1950, of one class)
};

Calibration calibration(const std::vector<double>& probabilities, size_t bins = 10);

/// Accuracy when the least sure choices are left out (El-Yaniv & Wiener, 2010, "On the Foundations of Noise-free Selective Classification").
struct RiskCoverage {
  std::vector<double> coverage;  ///< 1, 0.9 ... 0.1
  std::vector<double> accuracy;  ///< of the surest ceil(coverage n)
  double area = 0;               ///< mean accuracy of the surest 1, 2 ... n
};

/// Of choices that were `right` (1, 0 or between), made with some confidence of any scale. What is equally sure counts as its mean. At least one.
RiskCoverage risk_coverage(const std::vector<double>& confidence, const std::vector<double>& right);

}  // namespace seqmill::metric
