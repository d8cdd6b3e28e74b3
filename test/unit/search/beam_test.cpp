#include <catch2/catch.hpp>
#include <set>

#include "fake_decoder.h"
#include "reference.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

struct Penalty {
  const char* name;
  double alpha;
};
const std::vector<Penalty> kPenalties = {{"none", 1.0}, {"average", 0.5}, {"average", 1.0}, {"average", 2.0},
                                         {"gnmt", 0.6}, {"gnmt", 1.5}};

size_t rows_asked(const FakeDecoder& decoder) {
  size_t rows = 0;
  for (const auto& step : decoder.steps) rows += step.size();
  return rows;
}

}  // namespace

TEST_CASE("a wide beam finds what exhaustive search finds", "[beam]") {
  for (const Penalty& penalty : kPenalties) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const Model model = random_model(seed, 7);
      SearchOptions options = options_with(1600, 1, 3, penalty.name, penalty.alpha);
      options.min_length = static_cast<int64_t>(seed % 2);
      const auto all = exhaustive(model, options);
      REQUIRE(all.size() == (seed % 2 == 0 ? 259u : 258u));
      for (const size_t n_best : {size_t{1}, size_t{5}, all.size()}) {
        options.n_best = static_cast<int64_t>(n_best);
        const auto found = run_one(model, options);
        REQUIRE(found.size() == n_best);
        for (size_t i = 0; i < n_best; ++i) {
          REQUIRE(found[i].tokens == all[i].tokens);
          REQUIRE(found[i].score == Approx(all[i].score).epsilon(1e-12));
          REQUIRE(found[i].finished);
        }
      }
    }
  }
}

TEST_CASE("dropping hopeless rows changes no result", "[beam]") {
  size_t asked = 0, all_steps = 0;
  for (const Penalty& penalty : kPenalties) {
    for (uint64_t seed = 0; seed < 60; ++seed) {
      const Model model = random_model(seed, 7, seed % 3 == 0 ? 0.7 : 2.0);
      SearchOptions options = options_with(2 + static_cast<int64_t>(seed % 5), 1, 9, penalty.name, penalty.alpha);
      options.n_best = seed % 2 == 0 ? 1 : options.beam;
      options.min_length = static_cast<int64_t>(seed % 4);
      const std::vector<int32_t> prefix(seed % 3, 4);
      FakeDecoder decoder({seed}, model);
      const auto found = search::search(decoder, {{0, prefix, 0}}, kBos, kEos, options, 1).at(0);
      const auto expected = plain_beam(model, options, prefix, seed);
      REQUIRE(found.size() == expected.size());
      for (size_t i = 0; i < found.size(); ++i) {
        REQUIRE(found[i].tokens == expected[i].tokens);
        REQUIRE(found[i].finished == expected[i].finished);
        REQUIRE(found[i].score == Approx(expected[i].score).epsilon(1e-12));
      }
      asked += rows_asked(decoder);
      all_steps += static_cast<size_t>(10 * options.beam);
    }
  }
  CHECK(asked < all_steps * 4 / 5);  // and some rows were dropped
}

TEST_CASE("n-best lists are ordered, distinct and scored by the model", "[beam]") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Model model = random_model(seed, 7);
    const SearchOptions options = options_with(6, 6, 7);
    const auto found = run_one(model, options, {}, seed);
    REQUIRE(found.size() == 6);
    std::set<std::vector<int32_t>> distinct;
    for (size_t i = 0; i < found.size(); ++i) {
      if (i > 0) CHECK(found[i].score <= found[i - 1].score);
      distinct.insert(found[i].tokens);
      const double logprob = logprob_of(model, seed, found[i].tokens, found[i].finished);
      CHECK(found[i].logprob == Approx(logprob).epsilon(1e-12));
      CHECK(found[i].score ==
            Approx(hypothesis_of(options, found[i].tokens, logprob, found[i].finished).score).epsilon(1e-12));
    }
    CHECK(distinct.size() == 6);
  }
}

TEST_CASE("a longer n-best list begins with the shorter one", "[beam]") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Model model = random_model(seed, 7);
    for (const bool early_stop : {false, true}) {
      SearchOptions options = options_with(5, 5, 8);
      options.early_stop = early_stop;
      const auto longest = run_one(model, options);
      for (options.n_best = 1; options.n_best < 5; ++options.n_best) {
        REQUIRE(same(run_one(model, options), {longest.begin(), longest.begin() + options.n_best}));
      }
    }
  }
}

TEST_CASE("the others of a batch and their order do not matter", "[greedy][beam][sample][diverse]") {
  const Model model = random_model(11, 9, 1.0);
  SearchOptions beam = options_with(4, 3, 10), greedy = options_with(1, 1, 10), early = beam, sample = beam,
                diverse = beam;
  early.early_stop = true;
  sample.sample = true;
  sample.top_p = 0.9;
  diverse.diverse_groups = 2;
  for (const SearchOptions& options : {greedy, beam, early, sample, diverse}) {
    const std::vector<uint64_t> keys = {3, 17, 4, 8, 25, 1, 0};
    const std::vector<uint64_t> reversed(keys.rbegin(), keys.rend());
    const auto forward = run(model, keys, options), backward = run(model, reversed, options);
    for (size_t i = 0; i < keys.size(); ++i) {
      REQUIRE(same(forward[i], backward[keys.size() - 1 - i]));
      REQUIRE(same(forward[i], run(model, {keys[i]}, options).at(0)));
    }
  }
}

TEST_CASE("finished sentences leave the batch at once", "[greedy][beam][sample]") {
  // Sentence k is sure to end after k tokens.
  const Model model = [](uint64_t key, const std::vector<int32_t>& tokens) {
    return tokens.size() < key ? logs({0.0, 0.6, 0.4}) : logs({1.0, 0.0, 0.0});
  };
  for (const bool sample : {false, true}) {
    for (const int64_t beam : {1, 2}) {
      SearchOptions options = options_with(beam, 1, 20, "none");
      options.sample = sample;
      FakeDecoder decoder({4, 0, 2}, model);
      search::search(decoder, std::vector<SentenceInput>(3), kBos, kEos, options, 1);
      REQUIRE(decoder.steps.size() == 5);
      for (size_t step = 0; step < decoder.steps.size(); ++step) {
        std::set<uint64_t> alive;
        for (const FakeRow& row : decoder.steps[step]) alive.insert(row.key);
        CHECK(alive.count(4) == 1);
        CHECK(alive.count(0) == (step <= 0 ? 1 : 0));
        CHECK(alive.count(2) == (step <= 2 ? 1 : 0));
      }
    }
  }
}

TEST_CASE("early stop ends a sentence with the beam-th finished hypothesis", "[beam]") {
  // The empty hypothesis stands at log 0.4 = -0.916. A row of n tokens can still reach n * log 0.35 / 13 under the
  // average: -0.888 at n = 11, -0.969 at n = 12. So eleven steps follow the first.
  const Model model = [](uint64_t, const std::vector<int32_t>&) { return logs({0.4, 0.35, 0.25}); };
  SearchOptions options = options_with(2, 1, 12);
  FakeDecoder patient({0}, model), hasty({0}, model);
  search::search(patient, {SentenceInput()}, kBos, kEos, options, 1);
  options.early_stop = true;
  search::search(hasty, {SentenceInput()}, kBos, kEos, options, 1);
  CHECK(patient.steps.size() == 12);
  CHECK(hasty.steps.size() == 2);
}

TEST_CASE("ties go to the smaller token, then to the better row", "[beam]") {
  const Model uniform = [](uint64_t, const std::vector<int32_t>&) { return logs({0.0, 0.25, 0.25, 0.25, 0.25}); };
  const auto found = run_one(uniform, options_with(3, 3, 2));
  REQUIRE(found.size() == 3);
  CHECK(found[0].tokens == std::vector<int32_t>{1, 1});
  CHECK(found[1].tokens == std::vector<int32_t>{2, 1});
  CHECK(found[2].tokens == std::vector<int32_t>{3, 1});
}
