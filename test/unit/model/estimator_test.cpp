// Scores of states: pooling, and the heads of reward models and learned metrics.

#include "model/estimator.h"

#include "infer/estimator_head.h"
#include "model/pooling.h"
#include "unit/model/models.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

constexpr int64_t kDim = 6;

struct Head {
  explicit Head(bool with_reference, const std::vector<int64_t>& hidden = {5}) : head(estimator_head(2, with_reference, hidden)(parameters, kDim)) {}
  nn::Parameters parameters{7};
  std::unique_ptr<ScoreHead> head;
};

infer::EstimatorHead engine_head(Head& made) {
  std::vector<infer::EstimatorHead::Layer> layers;
  const auto numbers = [](const at::Tensor& tensor) {
    const at::Tensor dense = tensor.detach().contiguous();
    return std::vector<float>(dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel());
  };
  const auto named = made.parameters.named();
  for (size_t i = 0; i < named.size(); i += 2) {
    CHECK(named[i].first == infer::estimator_weight(i / 2));
    CHECK(named[i + 1].first == infer::estimator_bias(i / 2));
    layers.push_back({named[i].second.size(1), named[i].second.size(0), numbers(named[i].second), numbers(named[i + 1].second)});
  }
  return {layers, kDim};
}

}  // namespace

TEST_CASE("a metric's scores are those of the engine", "[estimator]") {
  for (const bool with_reference : {false, true}) {
    for (const std::vector<int64_t>& hidden : {std::vector<int64_t>{5}, {4, 3}, {}}) {
      CAPTURE(with_reference, hidden.size());
      Head made(with_reference, hidden);
      const infer::EstimatorHead engine = engine_head(made);
      CHECK(engine.takes_reference() == with_reference);
      const int64_t texts = made.head->texts();
      REQUIRE(texts == (with_reference ? 3 : 2));
      const at::Tensor states = normals({4 * texts, kDim}, 3), scores = made.head->scores(states).detach();
      REQUIRE((scores.size(0) == 4 && scores.size(1) == 2));
      for (int64_t i = 0; i < 4; ++i) {
        const float* source = states.data_ptr<float>() + i * texts * kDim;
        const std::vector<double> expected = engine.score({source, source + kDim, with_reference ? source + 2 * kDim : nullptr});
        for (int64_t k = 0; k < 2; ++k) CHECK(scores[i][k].item<double>() == Approx(expected[static_cast<size_t>(k)]).margin(1e-5));
      }
    }
  }
}

TEST_CASE("gradients of a metric's head", "[estimator]") {
  Head made(true);
  made.parameters.flatten();
  at::Tensor states = leaf(normals({9, kDim}, 4));
  const at::Tensor weights = normals({3, 2}, 5);
  const auto value = [&] { return (made.head->scores(states) * weights).sum(); };
  value().backward();
  check_gradient(states, [&] { return value().item<double>(); }, 1e-2);
  for (const nn::Parameter& parameter : made.parameters.all()) check_gradient(parameter.value, [&] { return value().item<double>(); }, 1e-2);
}

TEST_CASE("states are pooled over the tokens of endings alone", "[estimator]") {
  const data::PromptTree first{{1, 2}, {{3, 4}, {5}, {6, 7, 8}}}, second{{9}, {{10, 11}}};
  const data::TreeBatch batch = data::make_tree_batch({&first, &second}, data::LastTokens::kRead);
  at::Tensor states = leaf(normals({batch.input_tokens(), kDim}, 6));
  const at::Tensor means = pooled(states, batch, infer::Pooling::kMean), lasts = pooled(states, batch, infer::Pooling::kLast);
  CHECK(difference(means[0], (states[2] + states[3]) / 2) < 1e-6);
  CHECK(difference(means[1], states[4]) < 1e-6);
  CHECK(difference(means[2], (states[5] + states[6] + states[7]) / 3) < 1e-6);
  CHECK(difference(means[3], (states[9] + states[10]) / 2) < 1e-6);
  CHECK(difference(lasts, states.index_select(0, batch.last)) == 0);
  means.sum().backward();
  const at::Tensor& gradient = states.grad();
  CHECK(gradient[0].abs().max().item<double>() == 0);  // of the prompt
  CHECK(gradient[8].abs().max().item<double>() == 0);
  CHECK(gradient[5][0].item<double>() == Approx(1.0 / 3));
  CHECK(difference(pooled(states.slice(0, 0, 5), {2, 3}, infer::Pooling::kMean)[1], (states[2] + states[3] + states[4]) / 3) < 1e-6);
}
