#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <numeric>

#include "fake_decoder.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

const std::vector<double> kProbabilities = {0.05, 0.3, 0.02, 0.25, 0.2, 0.1, 0.08};
constexpr double kChiSquare6 = 22.46;  // exceeded by chance once in a thousand, 6 degrees of freedom

std::vector<float> constant_model(uint64_t, const std::vector<int32_t>&) { return logs(kProbabilities); }

SearchOptions sample_options(int64_t max_length, int64_t n_best = 1) {
  SearchOptions options = options_with(5, n_best, max_length);
  options.sample = true;
  return options;
}

// How often each token is drawn first on `lines` lines; 0 is the end symbol.
std::vector<double> first_tokens(const SearchOptions& options, size_t lines) {
  std::vector<uint64_t> keys(lines);
  std::iota(keys.begin(), keys.end(), 0);
  std::vector<double> counts(kProbabilities.size());
  for (const auto& sentence : run(constant_model, keys, options)) {
    ++counts[sentence.at(0).tokens.empty() ? 0 : static_cast<size_t>(sentence[0].tokens[0])];
  }
  return counts;
}

// Against weights that need not sum to 1; a token of weight 0 must not have been drawn.
double chi_square(const std::vector<double>& counts, const std::vector<double>& weights) {
  const double drawn = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = drawn * weights[i] / total;
    if (weights[i] == 0) CHECK(counts[i] == 0);
    if (weights[i] > 0) sum += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return sum;
}

std::vector<double> tempered(double temperature) {
  std::vector<double> weights;
  for (const double p : kProbabilities) weights.push_back(std::pow(p, 1 / temperature));
  return weights;
}

}  // namespace

TEST_CASE("tokens are drawn as often as they are probable", "[sample]") {
  CHECK(chi_square(first_tokens(sample_options(1), 20000), kProbabilities) < kChiSquare6);
}

TEST_CASE("temperature", "[sample]") {
  for (const double temperature : {0.3, 0.7, 2.0}) {
    SearchOptions options = sample_options(1);
    options.temperature = temperature;
    CHECK(chi_square(first_tokens(options, 20000), tempered(temperature)) < kChiSquare6);
  }
  SearchOptions options = sample_options(1);
  options.temperature = 0.001;
  CHECK(first_tokens(options, 200)[1] == 200);
}

TEST_CASE("top-k draws among the k most probable tokens", "[sample]") {
  SearchOptions options = sample_options(1);
  options.top_k = 3;
  CHECK(chi_square(first_tokens(options, 10000), {0, 0.3, 0, 0.25, 0.2, 0, 0}) < 13.82);  // 2 degrees of freedom
  options.top_k = 1;
  CHECK(first_tokens(options, 200)[1] == 200);
  options.top_k = 1000;
  CHECK(chi_square(first_tokens(options, 10000), kProbabilities) < kChiSquare6);
}

TEST_CASE("top-p draws among the fewest tokens that reach the share", "[sample]") {
  SearchOptions options = sample_options(1);
  options.top_p = 0.5;  // 0.3 + 0.25 reaches it
  CHECK(chi_square(first_tokens(options, 10000), {0, 0.3, 0, 0.25, 0, 0, 0}) < 10.83);
  options.top_p = 0.76;  // 0.3 + 0.25 + 0.2 does not, 0.1 more does
  CHECK(chi_square(first_tokens(options, 10000), {0, 0.3, 0, 0.25, 0.2, 0.1, 0}) < 16.27);
  options.top_p = 1e-9;
  CHECK(first_tokens(options, 200)[1] == 200);
  // After top-k the share is that of what is left: 0.3 of 0.55 is more than 0.5.
  options.top_k = 2;
  options.top_p = 0.5;
  CHECK(first_tokens(options, 200)[1] == 200);
  // Temperature comes first: at 4, six tokens are needed for 0.9.
  options = sample_options(1);
  options.top_p = 0.9;
  options.temperature = 4;
  std::vector<double> weights = tempered(4);
  weights[2] = 0;
  CHECK(chi_square(first_tokens(options, 10000), weights) < 20.52);
}

TEST_CASE("a nucleus larger than the first guess", "[sample]") {
  // 1000 tokens, the even ones four times as probable: 0.79 of the mass is 494 even tokens, in the order of their
  // ids.
  const Model model = [](uint64_t, const std::vector<int32_t>&) {
    std::vector<double> probabilities;
    for (int i = 0; i < 1000; ++i) probabilities.push_back(i % 2 == 0 ? 0.8 / 500 : 0.2 / 500);
    return logs(probabilities);
  };
  SearchOptions options = sample_options(40, 50);
  options.top_p = 0.79;
  std::map<int32_t, int> drawn;
  for (const Hypothesis& hypothesis : run_one(model, options)) {
    for (const int32_t token : hypothesis.tokens) ++drawn[token];
  }
  CHECK(drawn.size() > 450);
  for (const auto& [token, count] : drawn) {
    REQUIRE(token % 2 == 0);
    REQUIRE(token < 988);
  }
}

TEST_CASE("later tokens are drawn given the earlier ones", "[sample]") {
  const Model model = random_model(2, 3, 1.0);
  SearchOptions options = sample_options(2);
  std::vector<uint64_t> keys(20000, 0);
  FakeDecoder decoder(keys, model);
  std::vector<SentenceInput> inputs(keys.size());
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].line = i;
  std::map<std::vector<int32_t>, double> counts;
  const auto results = search::search(decoder, inputs, kBos, kEos, options, 5);
  for (const auto& sentence : results) ++counts[sentence[0].tokens];
  double sum = 0;
  for (const auto& [tokens, count] : counts) {
    const double expected = 20000 * std::exp(logprob_of(model, 0, tokens, tokens.size() < 2));
    sum += (count - expected) * (count - expected) / expected;
  }
  CHECK(counts.size() == 7);
  CHECK(sum < kChiSquare6);
}

TEST_CASE("samples of a line are independent, and the first is that of a single sample", "[sample]") {
  const Model model = random_model(6, 9, 1.0);
  const auto many = run(model, {12, 13}, sample_options(8, 40));
  REQUIRE(many[0].size() == 40);
  CHECK(same({many[0][0]}, run(model, {12}, sample_options(8)).at(0)));
  const auto fewer = run(model, {13, 77}, sample_options(8, 7));
  CHECK(same({many[1].begin(), many[1].begin() + 7}, fewer[0]));
  std::map<std::vector<int32_t>, int> distinct;
  for (const Hypothesis& hypothesis : many[0]) ++distinct[hypothesis.tokens];
  CHECK(distinct.size() > 10);
  // Draws of one step over the samples of one line follow the distribution too.
  std::vector<double> counts(kProbabilities.size());
  const auto drawn = run(constant_model, {3}, sample_options(1, 20000));
  for (const Hypothesis& hypothesis : drawn.at(0)) {
    ++counts[hypothesis.tokens.empty() ? 0 : static_cast<size_t>(hypothesis.tokens[0])];
  }
  CHECK(chi_square(counts, kProbabilities) < kChiSquare6);
}

TEST_CASE("a sentence may say how many samples it has, and at what temperature", "[sample]") {
  const Model model = random_model(6, 9, 1.0);
  SearchOptions options = sample_options(8, 3);
  options.top_k = 6;
  std::vector<SentenceInput> inputs(3);
  for (size_t i = 0; i < 3; ++i) inputs[i].line = i;
  inputs[0].samples = 5;
  inputs[1].temperature = 0.4;
  inputs[2].samples = 1;
  inputs[2].temperature = 2;
  FakeDecoder decoder({0, 1, 2}, model);
  const auto mixed = search::search(decoder, inputs, kBos, kEos, options, 9);
  const auto alone = [&](uint64_t key, int64_t samples, double temperature) {
    SearchOptions one = options;
    one.n_best = samples;
    one.temperature = temperature;
    return run(model, {key}, one, 9).at(0);
  };
  CHECK(same(mixed[0], alone(0, 5, 1)));
  CHECK(same(mixed[1], alone(1, 3, 0.4)));
  CHECK(same(mixed[2], alone(2, 1, 2)));
  inputs[0].samples = -1;
  CHECK_THROWS(search::search(decoder, inputs, kBos, kEos, options, 9));
  inputs[0].samples = 0;
  inputs[0].temperature = 1e-5;
  CHECK_THROWS(search::search(decoder, inputs, kBos, kEos, options, 9));
}

TEST_CASE("samples carry the probability that they were drawn with", "[sample]") {
  const Model model = random_model(7, 9);
  SearchOptions options = sample_options(6, 30);
  CHECK(options.temperature == 1);
  for (const Hypothesis& hypothesis : run_one(model, options)) CHECK(hypothesis.drawn_logprob == Approx(hypothesis.logprob).epsilon(1e-4));
  options.temperature = 1.7;
  options.top_k = 4;
  for (const Hypothesis& hypothesis : run_one(model, options)) {
    double expected = 0;
    std::vector<int32_t> tokens;
    for (size_t t = 0; t < hypothesis.tokens.size() + (hypothesis.finished ? 1 : 0); ++t) {
      const std::vector<float> logprobs = model(0, tokens);
      const int32_t token = t < hypothesis.tokens.size() ? hypothesis.tokens[t] : kEos;
      std::vector<float> ranked = logprobs;
      std::sort(ranked.rbegin(), ranked.rend());
      double mass = 0;
      for (size_t i = 0; i < 4; ++i) mass += std::exp(ranked[i] / 1.7);
      REQUIRE(logprobs[static_cast<size_t>(token)] >= ranked[3]);
      expected += logprobs[static_cast<size_t>(token)] / 1.7 - std::log(mass);
      tokens.push_back(token);
    }
    CHECK(hypothesis.drawn_logprob == Approx(expected).epsilon(1e-4).margin(1e-5));
  }
}

TEST_CASE("the stream depends on seed and line only", "[sample]") {
  const Model model = [](uint64_t, const std::vector<int32_t>&) { return logs({0.1, 0.3, 0.3, 0.3}); };
  const SearchOptions options = sample_options(20);
  const auto batch = run(model, {0, 1, 2, 3, 4}, options, 9);
  CHECK(same(batch[3], run(model, {3}, options, 9).at(0)));
  CHECK_FALSE(same(batch[3], batch[2]));
  CHECK_FALSE(same(batch[3], run(model, {3}, options, 10).at(0)));
}

TEST_CASE("sampled hypotheses carry the probability of the model", "[sample]") {
  const Model model = random_model(7, 9);
  SearchOptions options = sample_options(6, 30);
  options.temperature = 1.7;
  options.top_k = 4;
  for (const Hypothesis& hypothesis : run_one(model, options)) {
    CHECK(hypothesis.logprob ==
          Approx(logprob_of(model, 0, hypothesis.tokens, hypothesis.finished)).epsilon(1e-12));
  }
}

TEST_CASE("how sure a model is of its steps is observed where asked for", "[sample]") {
  StepStatistics steps;
  const std::vector<float> logprobs = logs(kProbabilities);
  steps.add(logprobs.data(), static_cast<int64_t>(logprobs.size()));
  double entropy = 0;
  for (const double p : kProbabilities) entropy -= p * std::log(p);
  CHECK(steps.entropy == Approx(entropy).epsilon(1e-5));
  CHECK(steps.peaks == Approx(0.3 * std::exp(0.3)).epsilon(1e-5));
  CHECK(steps.steps == 1);
  std::vector<float> one(1000, -INFINITY);
  one[517] = 0;
  StepStatistics sure;
  sure.add(one.data(), 1000);
  CHECK((sure.entropy == 0 && sure.peaks == Approx(std::exp(1.0))));
  std::vector<float> flat(1000, std::log(0.001F));
  StepStatistics unsure;
  unsure.add(flat.data(), 1000);
  CHECK(unsure.entropy == Approx(std::log(1000.0)).epsilon(1e-5));

  SearchOptions options = sample_options(6, 4);
  options.observe = true;
  options.temperature = 0.5;  // it is the model that is observed
  for (const Hypothesis& hypothesis : run_one(constant_model, options)) {
    const auto count = static_cast<int64_t>(hypothesis.tokens.size()) + 1;  // the end, or the step that was one too many
    CHECK(hypothesis.observed.steps == count);
    CHECK(hypothesis.observed.entropy == Approx(entropy * static_cast<double>(count)).epsilon(1e-5));
  }
  options.observe = false;
  CHECK(run_one(constant_model, options)[0].observed.steps == 0);
}
