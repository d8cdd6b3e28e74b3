#include "rl/advantages.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"
#include "rl/returns.h"

using namespace seqmill;
using namespace seqmill::rl;

namespace {

using Values = std::vector<double>;

AdvantageOptions options_with(const std::string& baseline, const std::string& normalise = "none") {
  AdvantageOptions options;
  options.baseline = baseline;
  options.normalise = normalise;
  return options;
}

void check_equal(const Values& values, const Values& expected) {
  REQUIRE(values.size() == expected.size());
  for (size_t i = 0; i < values.size(); ++i) CHECK(values[i] == Approx(expected[i]).margin(1e-12));
}

}  // namespace

TEST_CASE("the queue keeps the newest rewards, in order, and its state goes on as if nothing had happened", "[rl][esrl]") {
  RewardQueue queue(3);
  CHECK((queue.size() == 0 && queue.mean() == 0 && queue.deviation() == 0));
  queue.push({1});
  CHECK((queue.size() == 1 && queue.mean() == 1 && queue.deviation() == 0));
  queue.push({2, 3, 4});
  CHECK(queue.to_json().dump() == "[2.0,3.0,4.0]");
  CHECK(queue.mean() == 3);
  CHECK(queue.deviation() == Approx(std::sqrt(2.0 / 3)));
  queue.push({});
  queue.push({5, 6, 7, 8});
  CHECK(queue.to_json().dump() == "[6.0,7.0,8.0]");
  RewardQueue other(3);
  other.set(io::parse_json(queue.to_json().dump(), "test"));
  queue.push({0.1});
  other.push({0.1});
  CHECK(queue.to_json().dump() == other.to_json().dump());
  CHECK((queue.mean() == other.mean() && queue.deviation() == other.deviation()));
  other.set(io::parse_json("[1,2,3,4]", "test"));
  CHECK(other.to_json().dump() == "[2.0,3.0,4.0]");
  for (const char* bad : {"{}", "[1,\"x\"]", "[null]"}) CHECK_THROWS_AS(other.set(io::parse_json(bad, "test")), Error);
  CHECK_THROWS_AS(RewardQueue(0), Error);
}

TEST_CASE("a baseline is taken away from rewards", "[rl][esrl]") {
  const std::vector<Group> groups{{{1, 2, 6}, 4}, {{5}, 5}};
  RewardQueue queue(10);
  queue.push({1, 2, 6, 5});
  const auto of = [&](const char* baseline) { return advantages_of(groups, options_with(baseline), queue); };
  check_equal(of("none")[0], {1, 2, 6});
  check_equal(of("fifo-mean")[0], {-2.5, -1.5, 2.5});
  check_equal(of("fifo-mean")[1], {1.5});
  const double deviation = std::sqrt((2.5 * 2.5 + 1.5 * 1.5 + 2.5 * 2.5 + 1.5 * 1.5) / 4);
  check_equal(of("fifo-z")[0], {-2.5 / deviation, -1.5 / deviation, 2.5 / deviation});
  check_equal(of("group-mean")[0], {-2, -1, 3});
  check_equal(of("group-mean")[1], {0});
  check_equal(of("greedy")[0], {-3, -2, 2});
  CHECK(mean_baseline(groups, options_with("group-mean"), queue) == 4);
  CHECK(mean_baseline(groups, options_with("greedy"), queue) == 4.5);
  CHECK(mean_baseline(groups, options_with("fifo-z"), queue) == 3.5);
}

TEST_CASE("equal rewards have no advantage where a mean is taken away, the first single one too", "[rl][esrl]") {
  for (const char* baseline : {"fifo-mean", "fifo-z", "group-mean"}) {
    RewardQueue queue(1000);
    for (int update = 0; update < 3; ++update) {
      const std::vector<Group> groups{{Values(update == 0 ? 1 : 5, 0.3), 0}};
      queue.push(groups[0].rewards);
      const std::vector<Values> advantages = advantages_of(groups, options_with(baseline), queue);
      for (const double advantage : advantages[0]) CHECK(advantage == 0);
    }
  }
}

TEST_CASE("advantages are normalised within an input, scaled, clipped, and penalties scaled", "[rl]") {
  const std::vector<Group> groups{{{1, 2, 6}, 0}, {{3, 3}, 0}};
  const RewardQueue queue(1);
  const auto of = [&](const AdvantageOptions& options) { return advantages_of(groups, options, queue); };
  const double deviation = std::sqrt((4.0 + 1 + 9) / 3);
  check_equal(of(options_with("none", "z"))[0], {-2 / deviation, -1 / deviation, 3 / deviation});
  check_equal(of(options_with("none", "z"))[1], {0, 0});
  check_equal(of(options_with("none", "minmax"))[0], {0, 0.2, 1});
  check_equal(of(options_with("none", "mean-max"))[0], {-2.0 / 3, -1.0 / 3, 1});
  // A baseline for all of an input changes nothing of these.
  check_equal(of(options_with("group-mean", "z"))[0], of(options_with("none", "z"))[0]);
  AdvantageOptions options = options_with("group-mean");
  options.scale = 10;
  options.clip = 15;
  options.penalty_scale = 0.5;
  check_equal(of(options)[0], {-7.5, -5, 15});
  options_with("group-mean", "z").check();
  CHECK_THROWS_AS(options_with("group-mean", "minmax").check(), Error);
}

TEST_CASE("elimination drops exactly ceil(ratio B) of the most capable, and never all", "[rl][esrl]") {
  using Indices = std::vector<size_t>;
  CHECK(eliminate({0.9, 0.1, 0.5, 0.7}, 0.3) == Indices{1, 2});
  CHECK(eliminate({0.9, 0.1, 0.5, 0.7}, 0.25) == Indices{1, 2, 3});
  CHECK(eliminate({0.5, 0.5, 0.5}, 0.3) == Indices{0, 1});
  CHECK(eliminate({0.9, 0.1}, 1) == Indices{1});
  CHECK(eliminate({0.9}, 0.3) == Indices{0});
  CHECK(eliminate({0.9, 0.1}, 0) == Indices{0, 1});
  CHECK(eliminate({}, 0.3).empty());
  for (size_t inputs = 2; inputs < 60; ++inputs) CHECK(eliminate(Values(inputs, 0.5), 0.3).size() == inputs - (3 * inputs + 9) / 10);
}

TEST_CASE("advantages of tokens are those of their temporal differences", "[rl][ppo]") {
  const Values rewards{0.1, -0.2, 1}, values{0.5, 0.4, 0.3};
  const double gamma = 0.9, lambda = 0.8;
  const double d2 = 1 - 0.3, d1 = -0.2 + gamma * 0.3 - 0.4, d0 = 0.1 + gamma * 0.4 - 0.5;
  const double a2 = d2, a1 = d1 + gamma * lambda * a2, a0 = d0 + gamma * lambda * a1;
  const TokenReturns result = generalised_advantages(rewards, values, gamma, lambda);
  check_equal(result.advantages, {a0, a1, a2});
  check_equal(result.returns, {a0 + 0.5, a1 + 0.4, a2 + 0.3});
  // lambda 1: returns are discounted sums of rewards, whatever the values say.
  check_equal(generalised_advantages(rewards, values, gamma, 1).returns, {0.1 + gamma * (-0.2 + gamma), -0.2 + gamma, 1});
  CHECK(generalised_advantages({}, {}, 1, 1).advantages.empty());
  check_equal(token_rewards(2, {-1, -2, -1}, {-1.5, -1, -1}, 0.1, false), {-0.05, 0.1, 2});
  check_equal(token_rewards(2, {-1, -2, -1}, {-1.5, -1, -1}, 0.1, true), {-0.05, 0, 2});
  check_equal(token_rewards(2, {-1, -2}, {}, 0.1, true), {0, 2});
}
