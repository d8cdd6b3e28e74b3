#include "metric/calibration.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace seqmill::metric;

TEST_CASE("Brier's score by hand", "[calibration]") {
  CHECK(brier_score({{0.8, true}, {0.3, true}, {0.5, false}}) == Approx((0.04 + 0.49 + 0.25) / 3));
  CHECK(std::isnan(brier_score({})));
}

TEST_CASE("the calibration error by hand", "[calibration]") {
  // Two bins: 0.5 .. 0.75 and 0.75 .. 1. A probability below one half is a statement of the contrary.
  CHECK(expected_calibration_error({{0.6, true}, {0.7, false}, {0.9, true}, {0.2, false}}, 2) == Approx((std::fabs(0.6 + 0.7 - 1) + std::fabs(0.9 + 0.8 - 2)) / 4));
  CHECK(expected_calibration_error({{0.8, true}, {0.8, true}, {0.8, true}, {0.8, true}, {0.8, false}}) == Approx(0).margin(1e-12));
  CHECK(expected_calibration_error({{1, false}}) == 1);
  CHECK(expected_calibration_error({{0.5, true}, {0.5, false}}) == 0);
  CHECK(std::isnan(expected_calibration_error({})));
}
