#include "metric/calibration.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace seqmill::metric;

TEST_CASE("calibration by hand", "[calibration]") {
  const Calibration some = calibration({0.8, 0.3, 0.5});
  CHECK(some.brier == Approx((0.04 + 0.49 + 0.25) / 3));
  // Two bins, 0.5 .. 0.75 and 0.75 .. 1; a probability below one half chose the wrong one, with the rest.
  CHECK(calibration({0.6, 0.3, 0.9, 0.8}, 2).ece == Approx((std::fabs(0.6 + 0.7 - 1) + std::fabs(0.9 + 0.8 - 2)) / 4));
  CHECK(calibration({0.8, 0.8, 0.8, 0.8, 0.2}).ece == Approx(0).margin(1e-12));
  CHECK(calibration({0}).ece == 1);
  CHECK(calibration({0.5, 0.5}).ece == 0);
}

TEST_CASE("accuracy of what is left when the least sure are not asked", "[calibration]") {
  const RiskCoverage curve = risk_coverage({0.9, 0.1, 0.5, 0.3}, {1, 0, 1, 0});
  CHECK(curve.coverage.size() == 10);
  CHECK(curve.accuracy.front() == Approx(0.5));
  CHECK(curve.accuracy.back() == 1);
  CHECK(curve.area == Approx((1 + 1 + 2.0 / 3 + 0.5) / 4));
  // What is equally sure counts as its mean, whatever its order.
  CHECK(risk_coverage({0.5, 0.5}, {1, 0}).accuracy.back() == Approx(0.5));
  CHECK(risk_coverage({0.5, 0.5}, {0, 1}).accuracy.back() == Approx(0.5));
}
