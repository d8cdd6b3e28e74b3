#include "reward/ranking.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "reward/best_of.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::reward;
using seqmill::test::failure_of;

namespace {

/// Compares numbers, and counts.
struct Numbers {
  std::vector<double> values;
  mutable int comparisons = 0;
  PairScore score() const {
    return [this](size_t i, size_t j) {
      ++comparisons;
      return 1 / (1 + std::exp(values[j] - values[i]));
    };
  }
};

std::vector<double> shuffled(size_t count, uint64_t seed) {
  std::vector<double> values(count);
  std::iota(values.begin(), values.end(), 0.0);
  Rng rng(seed, "shuffle");
  for (size_t i = count; i > 1; --i) std::swap(values[i - 1], values[rng.below(i)]);
  return values;
}

}  // namespace

TEST_CASE("scan and tournament find the maximum by one comparison less than there are answers") {
  for (const size_t count : {1, 2, 3, 5, 8, 13}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      CAPTURE(count, seed);
      const Numbers numbers{shuffled(count, seed)};
      const auto largest = static_cast<size_t>(std::max_element(numbers.values.begin(), numbers.values.end()) - numbers.values.begin());
      CHECK(best_by_scan(count, numbers.score()) == largest);
      CHECK(numbers.comparisons == static_cast<int>(count) - 1);
      CHECK(best_by_tournament(count, numbers.score()) == largest);
      CHECK(numbers.comparisons == 2 * (static_cast<int>(count) - 1));
    }
  }
  CHECK(failure_of([] { best_by_scan(0, {}); }).says("no answer"));
}

TEST_CASE("a tie keeps what came first") {
  const PairScore tie = [](size_t, size_t) { return 0.5; };
  CHECK(best_by_scan(5, tie) == 0);
  CHECK(best_by_tournament(5, tie) == 0);
  CHECK(round_robin(4, tie) == std::vector<double>(4, 0.5));
  CHECK(round_robin(1, tie) == std::vector<double>{0.5});
}

TEST_CASE("each against all: the mean score, by half of the comparisons") {
  const Numbers numbers{{0, std::log(3.0), std::log(3.0)}};
  const std::vector<double> means = round_robin(3, numbers.score());
  CHECK(numbers.comparisons == 3);
  CHECK(means[0] == Approx(0.25));
  CHECK(means[1] == Approx((0.75 + 0.5) / 2));
  CHECK(means[2] == Approx((0.75 + 0.5) / 2));
  // Where each beats the next, the scan's winner depends on the order, and the means tell that none is best.
  const PairScore cycle = [](size_t i, size_t j) { return (j + 3 - i) % 3 == 1 ? 0.9 : 0.1; };
  for (const double mean : round_robin(3, cycle)) CHECK(mean == Approx(0.5));
}

TEST_CASE("the best of any n is the mean over all sets of n") {
  const std::vector<double> rewards{0.3, -1, 2, 0.3, 5, 1}, values{10, 20, 30, 40, 50, 60};
  for (int64_t n = 1; n <= 6; ++n) {
    double sum = 0, sets = 0;
    for (unsigned set = 0; set < 64; ++set) {
      if (__builtin_popcount(set) != n) continue;
      size_t best = 6;
      for (size_t i = 0; i < 6; ++i) {
        if ((set >> i & 1U) != 0 && (best == 6 || rewards[i] > rewards[best])) best = i;
      }
      sum += values[best];
      ++sets;
    }
    CAPTURE(n);
    CHECK(best_of_any(rewards, values, n) == Approx(sum / sets));
  }
  CHECK(failure_of([&] { best_of_any(rewards, values, 7); }).says("the best of 7 of 6"));
}
