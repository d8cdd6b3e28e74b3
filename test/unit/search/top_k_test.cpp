#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "search/top_k.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

std::vector<Candidate> by_sorting(const std::vector<std::vector<float>>& rows, const std::vector<double>& bases,
                                  size_t count) {
  std::vector<Candidate> all;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t token = 0; token < rows[r].size(); ++token) {
      if (rows[r][token] == -INFINITY) continue;
      all.push_back({bases[r] + rows[r][token], static_cast<int32_t>(token), static_cast<int32_t>(r)});
    }
  }
  std::sort(all.begin(), all.end(), ranks_before);
  all.resize(std::min(count, all.size()));
  return all;
}

std::vector<Candidate> by_top_k(const std::vector<std::vector<float>>& rows, const std::vector<double>& bases,
                                size_t count) {
  TopK best;
  best.reset(static_cast<int64_t>(count));
  for (size_t r = 0; r < rows.size(); ++r) {
    REQUIRE(best.add_row(rows[r].data(), static_cast<int64_t>(rows[r].size()), bases[r], static_cast<int32_t>(r)));
  }
  return best.sorted();
}

bool equal(const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Candidate& x, const Candidate& y) {
    return x.value == y.value && x.token == y.token && x.row == y.row;
  });
}

}  // namespace

TEST_CASE("the selection is that of sorting everything", "[top-k]") {
  Rng rng(3, "test");
  for (int round = 0; round < 400; ++round) {
    const size_t vocabulary = 1 + rng.below(700), count = 1 + rng.below(round % 10 == 0 ? 200 : 12);
    const bool coarse = round % 2 == 0;  // few distinct values: many ties
    std::vector<std::vector<float>> rows(1 + rng.below(6));
    std::vector<double> bases;
    for (auto& row : rows) {
      bases.push_back(coarse ? -static_cast<double>(rng.below(3)) : -1000 * rng.uniform());
      for (size_t i = 0; i < vocabulary; ++i) {
        const double value = -5 * rng.uniform();
        row.push_back(static_cast<float>(coarse ? std::round(value) : value));
        if (rng.below(10) == 0) row.back() = -INFINITY;
      }
    }
    REQUIRE(equal(by_top_k(rows, bases, count), by_sorting(rows, bases, count)));
  }
}

TEST_CASE("entries that only tie after the rounding of a large sum are not lost", "[top-k]") {
  // At -1e6 a double resolves 1e-10, so all of these sums are equal and the smaller token ids win.
  std::vector<float> low(128, -1e-12f), high(128, -1e-20f);
  CHECK(equal(by_top_k({high, low}, {-1e6, -1e6}, 3), by_sorting({high, low}, {-1e6, -1e6}, 3)));
}

TEST_CASE("impossible entries are never selected", "[top-k]") {
  std::vector<float> row(100, -INFINITY);
  CHECK(by_top_k({row}, {0.0}, 4).empty());
  row[70] = -80.0f;
  CHECK(equal(by_top_k({row}, {0.0}, 4), {{-80.0, 70, 0}}));
}

TEST_CASE("NaN and infinity are seen wherever they stand", "[top-k]") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (size_t place = 0; place < 200; ++place) {
      std::vector<float> row(200, -3.0f);
      row[0] = -0.1f;
      row[place] = bad;
      TopK best;
      best.reset(1);
      REQUIRE_FALSE(best.add_row(row.data(), 200, -1.0, 0));
    }
  }
}
