#include "search/sampler.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "support/files.h"

using namespace seqmill;
using seqmill::test::refused;
using namespace seqmill::search;

namespace {

const std::vector<double> kProbabilities = {0.05, 0.3, 0.02, 0.25, 0.2, 0.1, 0.08};

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> values;
  for (const double p : probabilities) values.push_back(static_cast<float>(std::log(p)));
  return values;
}

// The tokens that are ever drawn; each of them has at least one chance in fifty.
std::set<int32_t> drawn(const SamplerOptions& options, const std::vector<float>& logprobs) {
  Sampler sampler(options, static_cast<int64_t>(logprobs.size()));
  Rng rng(3, "sample");
  std::set<int32_t> tokens;
  for (int i = 0; i < 2000; ++i) tokens.insert(sampler.draw(logprobs.data(), rng));
  return tokens;
}

}  // namespace

TEST_CASE("min-p keeps what has a share of the best token's probability") {
  SamplerOptions options;
  options.min_p = 0.25;  // of 0.3: 0.075
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1, 3, 4, 5, 6});
  options.min_p = 0.6;  // 0.18
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1, 3, 4});
  options.min_p = 1;
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1});
}

TEST_CASE("min-p looks at probabilities after the temperature, and cuts what top-k and top-p left") {
  SamplerOptions options;
  options.temperature = 2;  // shares of the best become their square roots: 0.2 / 0.3 is 0.82, 0.1 / 0.3 is 0.58
  options.min_p = 0.6;
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1, 3, 4});
  options.min_p = 0.55;
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1, 3, 4, 5});
  options.top_k = 2;
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1, 3});
  options = {};
  options.top_p = 0.8;  // 0.3 + 0.25 + 0.2 + 0.1
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1, 3, 4, 5});
  options.min_p = 0.5;
  CHECK(drawn(options, logs(kProbabilities)) == std::set<int32_t>{1, 3, 4});
}

TEST_CASE("temperature 0 takes the most probable token, the first of equals, without a random number") {
  SamplerOptions options;
  options.temperature = 0;
  Sampler sampler(options, 4);
  Rng rng(1, "sample");
  const std::vector<float> logprobs = logs({0.1, 0.4, 0.4, 0.1});
  CHECK(sampler.draw(logprobs.data(), rng) == 1);
  CHECK(rng.counter() == 0);
}

TEST_CASE("what is no distribution is told apart") {
  const float infinity = std::numeric_limits<float>::infinity();
  Rng rng(1, "sample");
  for (const double temperature : {0.0, 1.0}) {
    SamplerOptions options;
    options.temperature = temperature;
    Sampler sampler(options, 2);
    CHECK(sampler.draw(std::vector<float>{-infinity, -infinity}.data(), rng) == kImpossible);
    CHECK(sampler.draw(std::vector<float>{0, std::nanf("")}.data(), rng) == kNotFinite);
    CHECK(sampler.draw(std::vector<float>{0, infinity}.data(), rng) == kNotFinite);
  }
}

TEST_CASE("the repetition penalty multiplies the log-probabilities of tokens that were there, once each") {
  std::vector<float> logprobs = {-1, -2, -3, -4};
  const std::vector<float> before = logprobs;
  SeenTokens seen(4);
  for (const int32_t token : {2, 0, 2}) seen.add(token);
  seen.penalise(logprobs.data(), 1.5);
  CHECK(logprobs == std::vector<float>{-1.5f, -2, -4.5f, -4});
  seen.restore(logprobs.data());
  CHECK(logprobs == before);
}

TEST_CASE("options of sampling that mean nothing are refused") {
  CHECK_FALSE(refused<SamplerOptions>([](SamplerOptions&) {}));
  CHECK_FALSE(refused<SamplerOptions>([](SamplerOptions& options) { options.temperature = 0; }));
  CHECK(refused<SamplerOptions>([](SamplerOptions& options) { options.temperature = 1e-5; }));
  CHECK(refused<SamplerOptions>([](SamplerOptions& options) { options.top_k = -1; }));
  CHECK(refused<SamplerOptions>([](SamplerOptions& options) { options.top_p = 0; }));
  CHECK(refused<SamplerOptions>([](SamplerOptions& options) { options.min_p = 1.5; }));
  CHECK(refused<SamplerOptions>([](SamplerOptions& options) { options.repetition_penalty = 0; }));
  CHECK(refused<SamplerOptions>([](SamplerOptions& options) { options.temperature = 0, options.top_p = 0.5; }));
}
