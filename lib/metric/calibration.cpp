#include "metric/calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace seqmill::metric {

double sigmoid(double x) { return x < 0 ? 1 - sigmoid(-x) : 1 / (1 + std::exp(-x)); }

bool orders_agree(double one, double other) { return (one > 0 && other > 0) || (one < 0 && other < 0); }

Calibration calibration(const std::vector<double>& probabilities, size_t bins) {
  Calibration result;
  if (probabilities.empty()) return result;
  std::vector<double> confidence(bins), right(bins);
  const auto count = static_cast<double>(probabilities.size());
  for (const double p : probabilities) {
    if (!(p >= 0 && p <= 1)) fail("found the probability {}, expected one from 0 to 1: the model has diverged or is broken", p);
    const double sure = std::max(p, 1 - p);
    const auto bin = std::min(bins - 1, static_cast<size_t>((sure - 0.5) * 2 * static_cast<double>(bins)));
    confidence[bin] += sure;
    right[bin] += p > 0.5 ? 1 : p == 0.5 ? 0.5 : 0;
    result.brier += (1 - p) * (1 - p) / count;
  }
  for (size_t bin = 0; bin < bins; ++bin) result.ece += std::abs(right[bin] - confidence[bin]) / count;
  return result;
}

RiskCoverage risk_coverage(const std::vector<double>& confidence, const std::vector<double>& right) {
  const size_t count = confidence.size();
  if (count == 0 || right.size() != count) fail("{} confidences of {} choices", count, right.size());
  for (const std::vector<double>* numbers : {&confidence, &right}) {
    const auto bad = std::find_if(numbers->begin(), numbers->end(), [](double number) { return !std::isfinite(number); });
    if (bad != numbers->end()) fail("found {} as the {} of a choice, expected a finite number", *bad, numbers == &confidence ? "confidence" : "outcome");
  }
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return confidence[a] > confidence[b]; });
  std::vector<double> sums{0};  // of the surest
  for (size_t begin = 0, end; begin < count; begin = end) {
    double sum = 0;
    for (end = begin; end < count && confidence[order[end]] == confidence[order[begin]]; ++end) sum += right[order[end]];
    for (size_t i = begin; i < end; ++i) sums.push_back(sums.back() + sum / static_cast<double>(end - begin));
  }
  const auto accuracy_of = [&](size_t surest) { return sums[surest] / static_cast<double>(surest); };
  RiskCoverage result;
  for (size_t tenths = 10; tenths > 0; --tenths) {
    result.coverage.push_back(static_cast<double>(tenths) / 10);
    result.accuracy.push_back(accuracy_of((count * tenths + 9) / 10));
  }
  for (size_t surest = 1; surest <= count; ++surest) result.area += accuracy_of(surest) / static_cast<double>(count);
  return result;
}

}  // namespace seqmill::metric
