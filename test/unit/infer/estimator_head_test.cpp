#include "infer/estimator_head.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "infer/lm_engine.h"
#include "infer/model_config.h"
#include "infer/quantise.h"
#include "support/lm_directory.h"

using namespace seqmill;
using namespace seqmill::test;
using infer::EstimatorHead;

namespace {

const std::vector<float> kSource{1, -2}, kHypothesis{3, 0.5F}, kReference{-1, 4};

EstimatorHead::Layer layer(int64_t inputs, int64_t outputs) {
  EstimatorHead::Layer made{inputs, outputs, {}, {}};
  for (int64_t i = 0; i < inputs * outputs; ++i) made.weight.push_back(static_cast<float>(i % 5 - 2) / 4);
  for (int64_t o = 0; o < outputs; ++o) made.bias.push_back(static_cast<float>(o) / 2);
  return made;
}

std::vector<double> through(const EstimatorHead::Layer& by, const std::vector<double>& x) {
  std::vector<double> y;
  for (int64_t o = 0; o < by.outputs; ++o) {
    y.push_back(static_cast<double>(by.bias[static_cast<size_t>(o)]));
    for (int64_t i = 0; i < by.inputs; ++i) y.back() += static_cast<double>(by.weight[static_cast<size_t>(o * by.inputs + i)]) * x[static_cast<size_t>(i)];
  }
  return y;
}

constexpr int64_t kRows = 300;

infer::LlamaOptions tiny_options() {
  infer::LlamaOptions o;
  o.dim = 32, o.ffn = 48, o.heads = 4, o.layers = 1, o.max_positions = 64, o.vocabulary = kRows;
  return o;
}

/// A model with a head of these shapes, [outputs, inputs] each.
void put_metric(const std::string& directory, const std::vector<std::vector<int64_t>>& shapes, bool with_biases = true, const infer::LlamaOptions& options = tiny_options()) {
  TinyLlama tiny(options, kRows, 1);
  for (size_t i = 0; i < shapes.size(); ++i) {
    tiny.add(infer::estimator_weight(i), shapes[i], 1);
    if (with_biases) tiny.add(infer::estimator_bias(i), {shapes[i][0]}, 1);
  }
  put_lm_directory(directory, tiny);
}

infer::LoadedLanguageModel load(const std::string& directory) { return infer::load_lm_in_engine(infer::ModelSource(directory)); }

}  // namespace

TEST_CASE("features of texts, by hand", "[estimator]") {
  CHECK(infer::estimator_features({kSource.data(), kHypothesis.data(), nullptr}, 2) == std::vector<double>{3, 0.5, 1, -2, 3, -1, 2, 2.5});
  CHECK(infer::estimator_features({kSource.data(), kHypothesis.data(), kReference.data()}, 2) == std::vector<double>{3, 0.5, -1, 4, 3, -1, -3, 2, 2, 2.5, 4, 3.5});
}

TEST_CASE("scores are a network of features", "[estimator]") {
  const EstimatorHead::Layer first = layer(8, 3), second = layer(3, 2);
  const EstimatorHead head({first, second}, 2);
  CHECK((!head.empty() && !head.takes_reference() && head.scores() == 2));
  std::vector<double> hidden = through(first, {3, 0.5, 1, -2, 3, -1, 2, 2.5});
  for (double& x : hidden) x = std::tanh(x);
  const std::vector<double> expected = through(second, hidden), found = head.score({kSource.data(), kHypothesis.data(), nullptr});
  REQUIRE(found.size() == 2);
  for (size_t i = 0; i < 2; ++i) CHECK(found[i] == Approx(expected[i]));
  CHECK(EstimatorHead({layer(12, 1)}, 2).takes_reference());
  CHECK(EstimatorHead().empty());
}

TEST_CASE("layers that do not go together are refused", "[estimator]") {
  CHECK(failure_of([] { EstimatorHead({layer(10, 1)}, 2); }).says("estimator.layers.0.weight takes 10 features, expected 8"));
  CHECK(failure_of([] { EstimatorHead({layer(8, 3), layer(4, 1)}, 2); }).says("estimator.layers.1.weight takes 4 numbers, and the layer before it gives 3"));
  CHECK(failure_of([] { EstimatorHead({}, 2); }).says("no layers"));
}

TEST_CASE("a metric's head is read beside its model, and stays when the model becomes integers", "[estimator]") {
  const TempDir dir;
  put_metric(dir / "float", {{5, 4 * 32}, {2, 5}});
  const infer::LoadedLanguageModel model = load(dir / "float");
  CHECK((model.estimator.scores() == 2 && !model.estimator.takes_reference() && model.score_head.empty()));
  const std::vector<float> s(32, 0.5F), h(32, -1);
  const std::vector<double> scores = model.estimator.score({s.data(), h.data(), nullptr});
  for (const infer::TensorReport& report : infer::quantise_model(dir / "float", dir / "int8", {}, 1)) {
    if (infer::is_score_head(report.name)) CHECK(!report.quantised);
  }
  CHECK(load(dir / "int8").estimator.score({s.data(), h.data(), nullptr}) == scores);
  put_metric(dir / "referenced", {{1, 6 * 32}});
  CHECK(load(dir / "referenced").estimator.takes_reference());
  put_metric(dir / "none", {});
  CHECK(load(dir / "none").estimator.empty());
}

TEST_CASE("a metric's head that does not fit is refused", "[estimator]") {
  const TempDir dir;
  put_metric(dir / "wide", {{5, 99}, {2, 5}});
  CHECK(failure_of([&] { load(dir / "wide"); }).says("takes 99 features"));
  put_metric(dir / "biasless", {{5, 4 * 32}}, false);
  CHECK(failure_of([&] { load(dir / "biasless"); }).says("estimator.layers.0.bias"));
  infer::LlamaOptions integers = tiny_options();
  integers.norm = "l1", integers.activation = "relu", integers.positions = "learned", integers.attention = "polynomial";
  put_metric(dir / "integers", {{1, 4 * 32}}, true, integers);
  infer::QuantiseOptions throughout;
  throughout.mode = "scale-propagation";
  CHECK(failure_of([&] { infer::quantise_model(dir / "integers", dir / "out", throughout, 1); }).says("is a reward model"));
}

TEST_CASE("a configuration says how states are pooled", "[estimator]") {
  const TempDir dir;
  const auto pooling = [&](const std::string& line) {
    put(dir / "config.yaml", "model:\n  type: llama\n" + line);
    return infer::read_model_config(dir / "config.yaml").pooling;
  };
  CHECK(pooling("") == infer::Pooling::kLast);
  CHECK(pooling("pool: last\n") == infer::Pooling::kLast);
  CHECK(pooling("pool: mean\n") == infer::Pooling::kMean);
  CHECK(failure_of([&] { pooling("pool: max\n"); }).says("config.yaml:3: pool: 'max' is no way to pool states; known: last, mean"));
}
