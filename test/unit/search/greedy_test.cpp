#include <catch2/catch.hpp>
#include <limits>

#include "fake_decoder.h"
#include "reference.h"
#include "search/strategy.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

Hypothesis by_argmax(const Model& model, const SearchOptions& options, uint64_t key) {
  std::vector<int32_t> tokens;
  while (true) {
    const std::vector<float> logprobs = model(key, tokens);
    const bool may_end = static_cast<int64_t>(tokens.size()) >= options.min_length;
    int32_t best = may_end ? 0 : 1;
    for (int32_t token = best; token < static_cast<int32_t>(logprobs.size()); ++token) {
      if (logprobs[static_cast<size_t>(token)] > logprobs[static_cast<size_t>(best)]) best = token;
    }
    if (best == kEos) return hypothesis_of(options, tokens, logprob_of(model, key, tokens, true), true);
    if (static_cast<int64_t>(tokens.size()) == options.max_length) {
      return hypothesis_of(options, tokens, logprob_of(model, key, tokens, false), false);
    }
    tokens.push_back(best);
  }
}

}  // namespace

TEST_CASE("greedy search takes the most probable token", "[greedy]") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Model model = random_model(seed, seed % 2 == 0 ? 7 : 131);
    SearchOptions options = options_with(1, 1, 6);
    options.min_length = static_cast<int64_t>(seed % 4);
    const auto results = run(model, {4, 9, 2}, options);
    for (const auto& [index, key] : std::vector<std::pair<size_t, uint64_t>>{{0, 4}, {1, 9}, {2, 2}}) {
      REQUIRE(same(results[index], {by_argmax(model, options, key)}));
    }
  }
}

TEST_CASE("a beam of one row that stops at its first hypothesis is greedy search", "[greedy][beam]") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Model model = random_model(seed, 7);
    SearchOptions options = options_with(1, 1, 8);
    options.min_length = static_cast<int64_t>(seed % 3);
    options.early_stop = true;
    FakeDecoder decoder({0, 1, 2}, model);
    const std::vector<SentenceInput> inputs(3);
    const auto by_beam = beam_search({decoder, inputs, kBos, kEos, options, 1});
    const auto greedy = run(model, {0, 1, 2}, options);
    for (size_t s = 0; s < 3; ++s) REQUIRE(same(by_beam[s], greedy[s]));
  }
}

TEST_CASE("equal probabilities go to the smaller token", "[greedy]") {
  const Model model = [](uint64_t, const std::vector<int32_t>& tokens) {
    return tokens.size() < 2 ? logs({0.1, 0.3, 0.3, 0.3}) : logs({0.4, 0.2, 0.4, 0.0});
  };
  CHECK(run_one(model, options_with(1, 1, 9)).at(0).tokens == std::vector<int32_t>{1, 1});
}

TEST_CASE("limits of 0 and 1", "[greedy][beam][sample]") {
  const Model goes_on = [](uint64_t, const std::vector<int32_t>&) { return logs({0.1, 0.2, 0.7}); };
  const Model ends = [](uint64_t, const std::vector<int32_t>& tokens) {
    return tokens.empty() ? logs({0.1, 0.2, 0.7}) : logs({0.8, 0.1, 0.1});
  };
  for (const int64_t beam : {1, 2}) {
    const auto none = run_one(goes_on, options_with(beam, 1, 0)).at(0);
    CHECK(none.tokens.empty());
    CHECK_FALSE(none.finished);
    CHECK(none.logprob == 0);
    const auto cut = run_one(goes_on, options_with(beam, 1, 1)).at(0);
    CHECK(cut.tokens == std::vector<int32_t>{2});
    CHECK_FALSE(cut.finished);
    CHECK(cut.logprob == Approx(std::log(0.7)));
    CHECK(cut.score == Approx(std::log(0.7)));
    const auto whole = run_one(ends, options_with(beam, 1, 1, "none")).at(0);
    CHECK(whole.tokens == std::vector<int32_t>{2});
    CHECK(whole.finished);
    CHECK(whole.logprob == Approx(std::log(0.56)));
  }
  SearchOptions options = options_with(1, 3, 0);
  options.sample = true;
  for (const Hypothesis& hypothesis : run_one(goes_on, options)) CHECK(hypothesis.tokens.empty());
}

TEST_CASE("minimum length", "[greedy][beam][sample]") {
  const Model ends = [](uint64_t, const std::vector<int32_t>&) { return logs({0.98, 0.01, 0.01}); };
  for (const bool sample : {false, true}) {
    for (const int64_t beam : {1, 3}) {
      SearchOptions options = options_with(beam, 1, 9);
      options.min_length = 4;
      options.sample = sample;
      options.length_penalty = "none";
      const auto best = run_one(ends, options).at(0);
      CHECK(best.tokens.size() == 4);
      CHECK(best.finished);
      CHECK(best.logprob == Approx(4 * std::log(0.01) + std::log(0.98)).epsilon(1e-6));
    }
  }
}

TEST_CASE("each sentence has its own limit", "[greedy][beam]") {
  const Model goes_on = [](uint64_t, const std::vector<int32_t>&) { return logs({0.01, 0.59, 0.4}); };
  for (const int64_t beam : {1, 4}) {
    SearchOptions options = options_with(beam, 1, 30);
    options.max_extra = 2;
    FakeDecoder decoder({0, 1, 2}, goes_on);
    std::vector<SentenceInput> inputs(3);
    inputs[0].source_length = 5;
    inputs[2].source_length = 100;
    const auto results = search::search(decoder, inputs, kBos, kEos, options, 1);
    CHECK(results[0].at(0).tokens.size() == 12);
    CHECK(results[1].at(0).tokens.size() == 2);
    CHECK(results[2].at(0).tokens.size() == 30);
  }
}

TEST_CASE("forced prefixes are kept and counted", "[greedy][beam][sample]") {
  const Model model = random_model(5, 7);
  const std::vector<int32_t> prefix = {6, 2, 6};
  for (const bool sample : {false, true}) {
    for (const int64_t beam : {1, 4}) {
      SearchOptions options = options_with(beam, sample ? 3 : 1, 8);
      options.sample = sample;
      for (const Hypothesis& hypothesis : run_one(model, options, prefix)) {
        REQUIRE(hypothesis.tokens.size() >= 3);
        CHECK(std::equal(prefix.begin(), prefix.end(), hypothesis.tokens.begin()));
        CHECK(hypothesis.logprob ==
              Approx(logprob_of(model, 0, hypothesis.tokens, hypothesis.finished)).epsilon(1e-12));
      }
      options.max_length = 2;  // shorter than the prefix, which is kept whole
      for (const Hypothesis& hypothesis : run_one(model, options, prefix)) CHECK(hypothesis.tokens == prefix);
    }
  }
}

TEST_CASE("a prefix the model thinks impossible does not spoil the rest", "[greedy][beam]") {
  const Model model = [](uint64_t, const std::vector<int32_t>& tokens) {
    return tokens.size() < 3 ? logs({0.1, 0.0, 0.2, 0.7}) : logs({0.9, 0.0, 0.05, 0.05});
  };
  for (const int64_t beam : {1, 3}) {
    const auto best = run_one(model, options_with(beam, 1, 9), {1}).at(0);
    CHECK(best.tokens == std::vector<int32_t>{1, 3, 3});
    CHECK(best.logprob == -INFINITY);
  }
}

TEST_CASE("prefixes of different lengths share a batch", "[greedy][beam][sample]") {
  const Model model = random_model(8, 7);
  const std::vector<std::vector<int32_t>> prefixes = {{}, {3, 3, 3, 3, 3, 3, 3}, {1}, {2, 4}};
  for (const bool sample : {false, true}) {
    for (const int64_t beam : {1, 3}) {
      SearchOptions options = options_with(beam, 1, 6);
      options.sample = sample;
      FakeDecoder decoder({0, 1, 2, 3}, model);
      std::vector<SentenceInput> inputs(4);
      for (size_t i = 0; i < 4; ++i) {
        inputs[i].prefix = prefixes[i];
        inputs[i].line = i;
      }
      const auto results = search::search(decoder, inputs, kBos, kEos, options, 1);
      for (size_t i = 0; i < 4; ++i) CHECK(same(results[i], run_one(model, options, prefixes[i], i)));
    }
  }
}

TEST_CASE("a model that gives NaN is an error", "[greedy][beam][sample]") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const Model model = [bad](uint64_t, const std::vector<int32_t>& tokens) {
      std::vector<float> logprobs = logs({0.01, 0.5, 0.49});
      if (tokens.size() == 2) logprobs[2] = bad;
      return logprobs;
    };
    for (const bool sample : {false, true}) {
      for (const int64_t beam : {1, 2, 4}) {
        SearchOptions options = options_with(beam, 1, 9);
        options.sample = sample;
        options.min_length = 3;
        CHECK_THROWS_WITH(run_one(model, options, {}, 6), Catch::Contains("line 7") && Catch::Contains("NaN") &&
                                                              Catch::Contains("target token 3"));
        CHECK_THROWS_AS(run_one(model, options, {1, 1, 2, 1}), Error);
      }
    }
  }
}

TEST_CASE("a model without any continuation ends the sentence", "[greedy][beam][sample]") {
  const Model model = [](uint64_t, const std::vector<int32_t>& tokens) {
    return tokens.size() < 2 ? logs({0.5, 0.5, 0.0}) : logs({1.0, 0.0, 0.0});
  };
  for (const bool sample : {false, true}) {
    for (const int64_t beam : {1, 3}) {
      SearchOptions options = options_with(beam, 1, 9);
      options.min_length = 5;
      options.sample = sample;
      const auto only = run_one(model, options).at(0);
      CHECK(only.tokens == std::vector<int32_t>{1, 1});
      CHECK_FALSE(only.finished);
    }
  }
}

TEST_CASE("wrong calls are refused", "[search]") {
  const Model model = random_model(1, 7);
  const SearchOptions options = options_with(2, 1, 9);
  CHECK_THROWS_WITH(run_one(model, options, {7}, 4),
                    Catch::Contains("line 5") && Catch::Contains("vocabulary of 7"));
  CHECK_THROWS_WITH(run_one(model, options, {3, 0}), Catch::Contains("end symbol"));
  FakeDecoder decoder({0, 1}, model);
  CHECK_THROWS_AS(search::search(decoder, {SentenceInput()}, kBos, kEos, options, 1), Error);
  CHECK_THROWS_AS(search::search(decoder, {{}, {}}, kBos, 7, options, 1), Error);
  CHECK(run(model, {}, options).empty());
}
