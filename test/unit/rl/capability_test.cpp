#include "rl/capability.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "base/error.h"

using namespace seqmill;
using namespace seqmill::rl;

namespace {

/// One step after another with such a distribution.
StepStatistics of(const std::vector<std::vector<double>>& distributions) {
  StepStatistics statistics;
  for (const std::vector<double>& p : distributions) {
    std::vector<float> logprobs;
    for (const double x : p) logprobs.push_back(static_cast<float>(std::log(x)));
    statistics.add(logprobs.data(), static_cast<int64_t>(logprobs.size()));
  }
  return statistics;
}

/// From uniform (0) to one-hot (1) over four symbols.
std::vector<double> between(double sharpness) {
  const double rest = (1 - sharpness) / 4;
  return {sharpness + rest, rest, rest, rest};
}

}  // namespace

TEST_CASE("capability by entropy and by largest probability rises from uniform to one-hot", "[rl][esrl]") {
  CHECK(entropy_capability(of({between(0), between(0)}), 4) == Approx(0).margin(1e-6));
  CHECK(entropy_capability(of({between(1)}), 4) == Approx(1).margin(1e-6));
  CHECK(max_probability_capability(of({between(1)})) == Approx(1 + std::exp(1.0)));
  CHECK(max_probability_capability(of({between(0)})) == Approx(1 + 0.25 * std::exp(0.25)));
  double entropy = -1, peak = 1;
  for (int i = 0; i <= 20; ++i) {
    const StepStatistics steps = of({between(i / 20.0), between(0.3)});
    CHECK(entropy_capability(steps, 4) > entropy);
    CHECK(max_probability_capability(steps) > peak);
    entropy = entropy_capability(steps, 4);
    peak = max_probability_capability(steps);
  }
  // The mean over steps counts, not their number.
  CHECK(entropy_capability(of({between(0.5), between(0.5)}), 4) == Approx(entropy_capability(of({between(0.5)}), 4)));
}

TEST_CASE("capability by reward is its share of the largest, within bounds", "[rl][esrl]") {
  CHECK(reward_capability(25, 100) == 0.25);
  CHECK(reward_capability(-1, 100) == 0);
  CHECK(reward_capability(120, 100) == 1);
  CHECK(reward_capability(std::numeric_limits<double>::quiet_NaN(), 100) == 0);
}

TEST_CASE("weak inputs get more candidates, and hotter ones", "[rl][esrl]") {
  DynamicSampling dynamic;
  dynamic.capability = "reward";
  CHECK((dynamic.candidates(1, 5) == 2 && dynamic.candidates(0, 5) == 8 && dynamic.candidates(0.5, 5) == 5));
  CHECK((dynamic.temperature_of(1, 1) == Approx(0.6) && dynamic.temperature_of(0, 1) == Approx(1.2)));
  for (int i = 1; i <= 50; ++i) {
    CHECK(dynamic.candidates(i / 50.0, 5) <= dynamic.candidates((i - 1) / 50.0, 5));
    CHECK(dynamic.temperature_of(i / 50.0, 1) < dynamic.temperature_of((i - 1) / 50.0, 1));
  }
  dynamic.size = false;
  CHECK((dynamic.candidates(0, 5) == 5 && dynamic.temperature_of(0, 1) == Approx(1.2)));
  dynamic.size = true;
  dynamic.temperature = false;
  CHECK((dynamic.candidates(0, 5) == 8 && dynamic.temperature_of(0, 1) == 1));
  // A range of one value is what stands in it, to the bit.
  dynamic.temperature = true;
  dynamic.least = dynamic.most = 5;
  dynamic.coldest = dynamic.hottest = 0.7;
  for (int i = 0; i <= 10; ++i) CHECK((dynamic.candidates(i / 10.0, 1) == 5 && dynamic.temperature_of(i / 10.0, 1) == 0.7));
  dynamic.capability = "none";
  CHECK((dynamic.candidates(0.3, 4) == 4 && dynamic.temperature_of(0.3, 0.9) == 0.9));
}

TEST_CASE("what capability is made of is an option, and bad ranges are refused", "[rl][esrl]") {
  DynamicSampling dynamic;
  dynamic.largest_reward = 2;
  Rng rng(1, "test");
  const StepStatistics steps = of({between(0.5)});
  const auto capability = [&](const char* kind) {
    dynamic.capability = kind;
    return dynamic.capability_of(0.5, steps, 4, rng);
  };
  CHECK(capability("reward") == 0.25);
  CHECK(capability("entropy") == entropy_capability(steps, 4));
  CHECK(capability("max-probability") == Approx((max_probability_capability(steps) - 1) / std::exp(1.0)));
  const double random = capability("random");
  CHECK((random > 0 && random < 1 && capability("random") != random));
  dynamic.least = 9;
  CHECK_THROWS_AS(dynamic.check(), Error);
  dynamic = {};
  dynamic.coldest = 2;
  CHECK_THROWS_AS(dynamic.check(), Error);
  dynamic = {};
  dynamic.largest_reward = 0;
  CHECK_THROWS_AS(dynamic.check(), Error);
  DynamicSampling().check();
}
