#include <catch2/catch.hpp>

#include "fake_decoder.h"
#include "search/length.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

// 0 ends, 1 goes on: [] 0.5, [1] 0.5 * 0.4 = 0.2, [1 1] 0.5 * 0.6 * 0.7 = 0.21.
std::vector<float> two_word_model(uint64_t, const std::vector<int32_t>& tokens) {
  if (tokens.empty()) return logs({0.5, 0.5});
  if (tokens.size() == 1) return logs({0.4, 0.6});
  return logs({0.7, 0.3});
}

std::vector<std::vector<int32_t>> ranking(const SearchOptions& options) {
  std::vector<std::vector<int32_t>> tokens;
  for (const Hypothesis& hypothesis : run_one(two_word_model, options)) tokens.push_back(hypothesis.tokens);
  return tokens;
}

}  // namespace

TEST_CASE("length penalties computed by hand", "[length]") {
  CHECK(LengthPenalty(options_with(1, 1, 9, "none")).score(-6, 7) == -6);
  CHECK(LengthPenalty(options_with(1, 1, 9, "average", 1.0)).score(-6, 7) == Approx(-0.857142857));
  CHECK(LengthPenalty(options_with(1, 1, 9, "average", 0.5)).score(-6, 7) == Approx(-2.267786838));  // 6 / sqrt(7)
  CHECK(LengthPenalty(options_with(1, 1, 9, "gnmt", 0.6)).score(-6, 7) == Approx(-3.958523959));     // 6 / 2^0.6
  CHECK(LengthPenalty(options_with(1, 1, 9, "average", 0.0)).score(-6, 7) == -6);
  CHECK(LengthPenalty(options_with(1, 1, 9, "average")).score(0, 0) == 0);
}

TEST_CASE("no continuation scores better than the attainable score", "[length]") {
  for (const char* name : {"none", "average", "gnmt"}) {
    for (const double alpha : {0.0, 0.6, 1.0, 2.5}) {
      const LengthPenalty penalty(options_with(1, 1, 9, name, alpha));
      for (const double logprob : {-7.5, -0.1, 0.0, 1e-7}) {
        for (int64_t length = 3; length <= 30; ++length) {
          CHECK(penalty.score(logprob, length) <= penalty.attainable(logprob, 3, 30));
        }
      }
    }
  }
}

TEST_CASE("the penalty decides between short and long hypotheses", "[length][beam]") {
  using Ranking = std::vector<std::vector<int32_t>>;
  CHECK(ranking(options_with(4, 3, 2, "none")) == Ranking{{}, {1, 1}, {1}});            // -0.693 -1.561 -1.609
  CHECK(ranking(options_with(4, 3, 2, "average", 1.0)) == Ranking{{1, 1}, {}, {1}});    // -0.520 -0.693 -0.805
  CHECK(ranking(options_with(4, 3, 2, "gnmt", 1.0)) == Ranking{{}, {1, 1}, {1}});       // -0.693 -1.170 -1.380
  CHECK(ranking(options_with(4, 3, 2, "gnmt", 4.0)) == Ranking{{1, 1}, {}, {1}});       // -0.494 -0.693 -0.869
  const auto best = run_one(two_word_model, options_with(4, 3, 2)).at(0);
  CHECK(best.logprob == Approx(std::log(0.21)));
  CHECK(best.score == Approx(std::log(0.21) / 3));
  CHECK(best.finished);
}

TEST_CASE("the limit of a sentence", "[length]") {
  SearchOptions options;
  options.max_length = 50;
  options.max_ratio = 1.5;
  options.max_extra = 3;
  options.min_length = 10;
  const auto limits = [&](int64_t source, std::vector<int32_t> prefix = {}) {
    const LengthLimits limits(options, {source, std::move(prefix), 0});
    return std::make_pair(limits.min, limits.max);
  };
  CHECK(limits(5) == std::make_pair<int64_t, int64_t>(10, 10));  // floor(7.5) + 3
  CHECK(limits(0) == std::make_pair<int64_t, int64_t>(3, 3));    // the limit goes before --min-length
  CHECK(limits(20) == std::make_pair<int64_t, int64_t>(10, 33));
  CHECK(limits(1000) == std::make_pair<int64_t, int64_t>(10, 50));
  CHECK(limits(0, {1, 1, 1, 1, 1}) == std::make_pair<int64_t, int64_t>(5, 5));
  options.max_ratio = 1e300;
  CHECK(limits(1000).second == 50);
}
