#include "infer/estimator_head.h"

#include <cmath>

#include "base/error.h"

namespace seqmill::infer {

std::string estimator_weight(size_t layer) { return fmt::format("{}layers.{}.weight", kEstimator, layer); }
std::string estimator_bias(size_t layer) { return fmt::format("{}layers.{}.bias", kEstimator, layer); }

std::vector<double> estimator_features(const TextVectors& texts, int64_t dim) {
  std::vector<double> features;
  const auto add = [&](auto of) {
    for (int64_t d = 0; d < dim; ++d) features.push_back(of(d));
  };
  const auto plain = [&](const float* a) {
    add([=](int64_t d) { return static_cast<double>(a[d]); });
  };
  const auto product = [&](const float* a, const float* b) {
    add([=](int64_t d) { return static_cast<double>(a[d]) * static_cast<double>(b[d]); });
  };
  const auto distance = [&](const float* a, const float* b) {
    add([=](int64_t d) { return std::abs(static_cast<double>(a[d]) - static_cast<double>(b[d])); });
  };
  const float *s = texts.source, *h = texts.hypothesis, *r = texts.reference;
  plain(h);
  plain(r ? r : s);
  product(h, s);
  if (r) product(h, r);
  distance(h, s);
  if (r) distance(h, r);
  return features;
}

EstimatorHead::EstimatorHead(std::vector<Layer> layers, int64_t dim) : layers_(std::move(layers)), dim_(dim) {
  if (layers_.empty()) fail("the head of a metric has no layers");
  const int64_t features = layers_[0].inputs;
  if (features != 4 * dim && features != 6 * dim) {
    fail("{} takes {} features, expected {} of a source and a hypothesis, or {} with a reference, of vectors of {}", estimator_weight(0), features, 4 * dim, 6 * dim, dim);
  }
  takes_reference_ = features == 6 * dim;
  for (size_t i = 1; i < layers_.size(); ++i) {
    if (layers_[i].inputs != layers_[i - 1].outputs) fail("{} takes {} numbers, and the layer before it gives {}", estimator_weight(i), layers_[i].inputs, layers_[i - 1].outputs);
  }
}

std::vector<double> EstimatorHead::score(const TextVectors& texts) const {
  std::vector<double> x = estimator_features(texts, dim_);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    std::vector<double> next(layer.bias.begin(), layer.bias.end());
    for (size_t o = 0; o < next.size(); ++o) {
      const float* row = layer.weight.data() + o * x.size();
      for (size_t k = 0; k < x.size(); ++k) next[o] += static_cast<double>(row[k]) * x[k];
      if (i + 1 < layers_.size()) next[o] = std::tanh(next[o]);
    }
    x = std::move(next);
  }
  return x;
}

}  // namespace seqmill::infer
