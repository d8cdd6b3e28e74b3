#pragma once
// How far choices between two, and the probabilities with which they are made, can be believed.

#include <cstddef>
#include <vector>

namespace seqmill::metric {

/// The logistic function. Of x and -x exactly 1 together, so that what is equal stays exactly equal.
double sigmoid(double x);

/// Whether a judge that was asked about two answers in both orders names the same one ("order-consistency" is the share of such pairs). The arguments say by how much it prefers one and the same
/// answer in each order, in logits or in probability above one half; by 0 it names none.
bool orders_agree(double one, double other);

/// Of choices between two, each made with some probability for the right one.
struct Calibration {
  /// Expected calibration error (Guo et al., 2017, "On Calibration of Modern Neural Networks", eq. 3): confidences, which are the probabilities of what was chosen, in
  /// equal bins from 0.5 to 1. A probability of 0.5 chooses nothing and counts half.
  double ece = 0;
  double brier = 0;  ///< mean of (1 - probability)^2 (Brier, 1950, of one class)
};

/// Throws Error for what is no probability.
Calibration calibration(const std::vector<double>& probabilities, size_t bins = 10);

/// Accuracy when the least sure choices are left out (El-Yaniv & Wiener, 2010, "On the Foundations of Noise-free Selective Classification").
struct RiskCoverage {
  std::vector<double> coverage;  ///< 1, 0.9 ... 0.1
  std::vector<double> accuracy;  ///< of the surest ceil(coverage n)
  double area = 0;               ///< mean accuracy of the surest 1, 2 ... n
};

/// Of choices that were `right` (1, 0 or between), made with some confidence of any scale. What is equally sure counts as its mean. Throws Error for none, and for numbers that are not finite.
RiskCoverage risk_coverage(const std::vector<double>& confidence, const std::vector<double>& right);

}  // namespace seqmill::metric
