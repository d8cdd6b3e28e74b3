#include <catch2/catch.hpp>
#include <set>

#include "fake_decoder.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

SearchOptions diverse_options(int64_t beam, int64_t groups, double strength, int64_t max_length = 6) {
  SearchOptions options = options_with(beam, beam, max_length);
  options.diverse_groups = groups;
  options.diverse_strength = strength;
  return options;
}

}  // namespace

TEST_CASE("groups avoid each other's tokens, by hand", "[diverse]") {
  // Groups of one row. Step 1: group 1 takes token 1 (0.5); for group 2 it is worth log 0.5 - 1 = log 0.184 and it
  // takes token 2 (0.3); group 3 takes token 1 again: 0.184 beats token 3 (0.15), and token 2 is down to 0.110.
  const Model model = [](uint64_t, const std::vector<int32_t>& tokens) {
    return tokens.empty() ? logs({0.05, 0.5, 0.3, 0.15}) : logs({1.0, 0.0, 0.0, 0.0});
  };
  const auto found = run_one(model, diverse_options(3, 3, 1.0));
  REQUIRE(found.size() == 2);  // of three, two are the same
  CHECK(found[0].tokens == std::vector<int32_t>{1});
  CHECK(found[1].tokens == std::vector<int32_t>{2});
  CHECK(found[1].logprob == Approx(std::log(0.3)).epsilon(1e-6));  // without the penalty

  const auto stronger = run_one(model, diverse_options(3, 3, 1.3));
  REQUIRE(stronger.size() == 3);
  CHECK(stronger[2].tokens == std::vector<int32_t>{3});
}

TEST_CASE("a strong penalty gives every group another first token", "[diverse]") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Model model = random_model(seed, 9);
    SearchOptions options = diverse_options(6, 3, 50.0);
    options.min_length = 1;
    FakeDecoder decoder({seed}, model);
    const auto found = search::search(decoder, {SentenceInput()}, kBos, kEos, options, 1).at(0);
    // Rows of the second step: two of each group, all six with other tokens.
    std::set<int32_t> first;
    for (const FakeRow& row : decoder.steps.at(1)) first.insert(row.tokens.at(0));
    CHECK(decoder.steps.at(1).size() == 6);
    CHECK(first.size() == 6);
    std::set<std::vector<int32_t>> distinct;
    for (size_t i = 0; i < found.size(); ++i) {
      if (i > 0) CHECK(found[i].score <= found[i - 1].score);
      distinct.insert(found[i].tokens);
      CHECK(found[i].logprob ==
            Approx(logprob_of(model, seed, found[i].tokens, found[i].finished)).epsilon(1e-12));
    }
    CHECK(distinct.size() == found.size());
  }
}

TEST_CASE("without a penalty all groups are the narrow beam", "[diverse]") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Model model = random_model(seed, 7);
    REQUIRE(same(run_one(model, diverse_options(6, 2, 0.0)), run_one(model, options_with(3, 3, 6))));
  }
}

TEST_CASE("groups differ more than a beam", "[diverse]") {
  const auto distinct_second_tokens = [](const std::vector<Hypothesis>& found) {
    std::set<int32_t> tokens;
    for (const Hypothesis& hypothesis : found) {
      tokens.insert(hypothesis.tokens.size() > 1 ? hypothesis.tokens[1] : kEos);
    }
    return tokens.size();
  };
  size_t beam = 0, diverse = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Model model = random_model(seed, 9);
    beam += distinct_second_tokens(run_one(model, options_with(4, 4, 6)));
    diverse += distinct_second_tokens(run_one(model, diverse_options(4, 4, 2.0)));
  }
  CHECK(diverse > beam);
}

TEST_CASE("groups start after the forced prefix", "[diverse]") {
  const Model model = random_model(4, 9);
  SearchOptions options = diverse_options(4, 2, 50.0);
  options.min_length = 3;
  FakeDecoder decoder({0}, model);
  const auto found = search::search(decoder, {{0, {5, 5}, 0}}, kBos, kEos, options, 1).at(0);
  CHECK(decoder.steps.at(1).size() == 1);
  CHECK(decoder.steps.at(2).size() == 1);
  CHECK(decoder.steps.at(3).size() == 4);
  for (const Hypothesis& hypothesis : found) {
    CHECK(hypothesis.tokens.at(0) == 5);
    CHECK(hypothesis.tokens.at(1) == 5);
    CHECK(hypothesis.logprob ==
          Approx(logprob_of(model, 0, hypothesis.tokens, hypothesis.finished)).epsilon(1e-12));
  }
}
