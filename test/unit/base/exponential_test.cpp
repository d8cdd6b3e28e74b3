#include "base/exponential.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>

using seqmill::exp_of_negative;

TEST_CASE("exp_of_negative is within two units in the last place") {
  double worst = 0;
  for (int i = 0; i <= 870000; ++i) {
    const float x = -static_cast<float>(i) * 1e-4f;
    const double exact = std::exp(static_cast<double>(x));
    const double unit = std::nextafter(static_cast<float>(exact), std::numeric_limits<float>::infinity()) - static_cast<float>(exact);
    worst = std::max(worst, std::abs(static_cast<double>(exp_of_negative(x)) - exact) / unit);
  }
  CHECK(worst <= 2.0);
}

TEST_CASE("exp_of_negative at the edges") {
  CHECK(exp_of_negative(0.0f) == 1.0f);
  CHECK(exp_of_negative(-0.0f) == 1.0f);
  CHECK(exp_of_negative(-87.1f) == 0.0f);
  CHECK(exp_of_negative(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(std::isnan(exp_of_negative(std::numeric_limits<float>::quiet_NaN())));
}
