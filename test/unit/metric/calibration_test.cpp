#include "metric/calibration.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "support/files.h"

using namespace seqmill::metric;
using seqmill::test::failure_of;

TEST_CASE("the logistic function of x and of -x add up to one exactly", "[calibration]") {
  CHECK(sigmoid(0) == 0.5);
  CHECK(sigmoid(-0.0) == 0.5);
  for (double x = 1e-9; x < 100; x *= 1.7) {
    CAPTURE(x);
    CHECK(sigmoid(x) == Approx(1 / (1 + std::exp(-x))));
    CHECK(sigmoid(x) + sigmoid(-x) == 1);
  }
  CHECK(std::isnan(sigmoid(NAN)));
  CHECK((sigmoid(INFINITY) == 1 && sigmoid(-INFINITY) == 0));
}

TEST_CASE("two orders agree when both name the same answer, and a tie names none", "[calibration]") {
  CHECK(orders_agree(0.1, 3));
  CHECK(orders_agree(-2, -0.1));
  CHECK_FALSE(orders_agree(1, -1));
  CHECK_FALSE(orders_agree(0, 1));
  CHECK_FALSE(orders_agree(-1, 0));
  CHECK_FALSE(orders_agree(0, 0));
  CHECK_FALSE(orders_agree(NAN, NAN));
}

TEST_CASE("what is no number is refused", "[calibration]") {
  CHECK(failure_of([] { calibration({0.5, NAN}); }).says("the probability nan, expected one from 0 to 1"));
  CHECK(failure_of([] { calibration({1.5}); }).says("the probability 1.5"));
  CHECK(failure_of([] { calibration({-INFINITY}); }).says("the probability -inf"));
  CHECK(failure_of([] { risk_coverage({0.5, NAN}, {1, 0}); }).says("found nan as the confidence of a choice"));
  CHECK(failure_of([] { risk_coverage({0.5, INFINITY}, {1, 0}); }).says("found inf as the confidence"));
  CHECK(failure_of([] { risk_coverage({0.5}, {NAN}); }).says("found nan as the outcome of a choice"));
}

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
