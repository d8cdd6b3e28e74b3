#include "metric/calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace seqmill::metric {

double brier_score(const std::vector<Forecast>& forecasts) {
  if (forecasts.empty()) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (const Forecast& forecast : forecasts) {
    const double error = forecast.probability - (forecast.right ? 1 : 0);
    sum += error * error;
  }
  return sum / static_cast<double>(forecasts.size());
}

double expected_calibration_error(const std::vector<Forecast>& forecasts, int bins) {
  if (forecasts.empty()) return std::numeric_limits<double>::quiet_NaN();
  struct Bin {
    double confidence = 0, right = 0;
  };
  std::vector<Bin> all(static_cast<size_t>(bins));
  for (const Forecast& forecast : forecasts) {
    const double p = forecast.probability;
    // Exactly one half says neither: right half of the time, as it claims.
    const double confidence = std::max(p, 1 - p), right = p == 0.5 ? 0.5 : (p > 0.5) == forecast.right ? 1 : 0;
    const auto number = std::clamp(static_cast<int>((confidence - 0.5) * 2 * bins), 0, bins - 1);
    all[static_cast<size_t>(number)].confidence += confidence;
    all[static_cast<size_t>(number)].right += right;
  }
  double sum = 0;
  for (const Bin& bin : all) sum += std::fabs(bin.confidence - bin.right);
  return sum / static_cast<double>(forecasts.size());
}

}  // namespace seqmill::metric
