#pragma once
// Whether probabilities mean what they say.

#include <vector>

namespace seqmill::metric {

/// A statement that was made with this probability, and whether it was right.
struct Forecast {
  double probability = 0.5;
  bool right = false;
};

/// Mean squared difference of probability and outcome (Brier, 1950). NaN for none.
double brier_score(const std::vector<Forecast>& forecasts);

/// Expected calibration error (Guo et al., 2017, eq. 3) of what a forecast takes for likelier: a probability below one half stands for the contrary with the rest. `bins`
/// of equal width over 0.5 .. 1. NaN for none.
double expected_calibration_error(const std::vector<Forecast>& forecasts, int bins = 10);

}  // namespace seqmill::metric
