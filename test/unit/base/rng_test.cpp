#include "base/rng.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <set>

using namespace seqmill;

TEST_CASE("a stream depends on seed, name and number, and can be entered anywhere") {
  Rng stream(1, "data");
  const uint64_t first = stream.next(), second = stream.next();
  CHECK(Rng(1, "data").next() == first);
  CHECK(std::set<uint64_t>{first, second, Rng(2, "data").next(), Rng(1, "init").next(), Rng(1, "data", 1).next()}
            .size() == 5);
  Rng entered(1, "data");
  entered.set_counter(1);
  CHECK(entered.next() == second);
  CHECK(entered.counter() == 2);
  CHECK(random_bits(stream.key(), 1) == second);
}

TEST_CASE("streams keep their values for good") {
  // Part of the format of saved states: these numbers must never change.
  CHECK(random_bits(0, 0) == 5197578548964807871ULL);
  Rng stream(1, "data");
  CHECK(stream.next() == 5955159779577616313ULL);
  CHECK(stream.next() == 13029056466183951651ULL);
}

TEST_CASE("uniform numbers lie in [0, 1) with the right moments") {
  Rng rng(7, "test");
  double sum = 0, squares = 0;
  const int count = 200000;
  for (int i = 0; i < count; ++i) {
    const double value = rng.uniform();
    REQUIRE((value >= 0 && value < 1));
    sum += value;
    squares += value * value;
  }
  CHECK(sum / count == Approx(0.5).margin(0.005));
  CHECK(squares / count == Approx(1.0 / 3).margin(0.005));
}

TEST_CASE("normal numbers have mean 0 and variance 1") {
  Rng rng(7, "test");
  double sum = 0, squares = 0;
  const int count = 200000;
  for (int i = 0; i < count; ++i) {
    const double value = rng.normal();
    REQUIRE(std::isfinite(value));
    sum += value;
    squares += value * value;
  }
  CHECK(sum / count == Approx(0).margin(0.01));
  CHECK(squares / count == Approx(1).margin(0.02));
}

TEST_CASE("bounded numbers are uniform") {
  Rng rng(7, "test");
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) ++counts[rng.below(6)];
  for (const int count : counts) CHECK(count == Approx(10000).margin(400));
  CHECK(rng.below(1) == 0);
  for (int i = 0; i < 100; ++i) CHECK(rng.below((uint64_t{1} << 63) + 1) <= uint64_t{1} << 63);
}

TEST_CASE("a shuffle is a permutation that the seed decides") {
  std::vector<int> items(100);
  std::iota(items.begin(), items.end(), 0);
  std::vector<int> a = items, b = items, c = items;
  Rng(1, "data").shuffle(a);
  Rng(1, "data").shuffle(b);
  Rng(2, "data").shuffle(c);
  CHECK(a == b);
  CHECK(a != c);
  CHECK(a != items);
  std::sort(a.begin(), a.end());
  CHECK(a == items);
}
