#include "infer/lm_engine.h"

#include <algorithm>

#include "base/strings.h"

namespace seqmill::infer {
namespace {

/// Of a reward model; of others nothing.
std::vector<float> take_score_head(Weights& weights, const LanguageModel& model) {
  const auto& tensors = weights.tensors();
  const auto found = std::find_if(tensors.begin(), tensors.end(), [](const io::TensorRecord& record) { return record.name == kScoreHead; });
  if (found == tensors.end()) return {};
  const int64_t heads = found->shape.empty() ? 1 : found->shape[0];
  const Numbers numbers = weights.take(kScoreHead, {heads, model.dim()});
  return numbers.data() ? std::vector<float>(numbers.data(), numbers.data() + heads * model.dim()) : std::vector<float>();
}

/// Of a learned metric; of others nothing, and of tensors that do not fit.
EstimatorHead take_estimator(Weights& weights, const LanguageModel& model) {
  std::vector<EstimatorHead::Layer> layers;
  const auto& tensors = weights.tensors();
  for (size_t i = 0;; ++i) {
    const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const io::TensorRecord& record) { return record.name == estimator_weight(i); });
    if (found == tensors.end()) break;
    if (found->shape.size() != 2) fail("{}: shape of {} dimensions, expected 2", found->name, found->shape.size());
    EstimatorHead::Layer layer{found->shape[1], found->shape[0], {}, {}};
    const Numbers numbers = weights.take(found->name, found->shape);
    layer.bias = weights.take_vector(estimator_bias(i), layer.outputs);
    if (!numbers.data() || layer.bias.empty()) return {};
    layer.weight.assign(numbers.data(), numbers.data() + layer.outputs * layer.inputs);
    layers.push_back(std::move(layer));
  }
  return layers.empty() ? EstimatorHead() : EstimatorHead(std::move(layers), model.dim());
}

}  // namespace

bool is_score_head(const std::string& tensor) { return tensor == kScoreHead || starts_with(tensor, kEstimator); }

void LmEngineConfig::check_scale_propagation() const { fail_usage("scale-propagation is for language models of type llama; --mode dynamic takes others"); }

IntegerPlace LmEngineConfig::place_of(const std::string&) const { return {}; }

bool lm_engine_knows(const std::string& type) { return registry_has<LmEngineType>(type); }

LoadedLanguageModel load_lm_in_engine(const ModelSource& source, int64_t average, bool to_bfloat16, std::shared_ptr<const text::Tokenizer> tokenizer) {
  LoadedLanguageModel loaded;
  loaded.tokenizer = tokenizer ? std::move(tokenizer) : text::load_tokenizer(source.files.directory);
  loaded.chat_template = source.config.chat_template;
  loaded.pooling = source.config.pooling;
  const auto engine = configure<LmEngineType>(source.config);
  loaded.model = build_from(source, weights_of(source, average, to_bfloat16), [&](Weights& weights) {
    auto model = engine->build(loaded.tokenizer->size(), weights);
    loaded.score_head = take_score_head(weights, *model);
    loaded.estimator = take_estimator(weights, *model);
    return model;
  });
  return loaded;
}

void check_lm_in_engine(const ModelSource& source) {
  const int64_t tokens = text::load_tokenizer(source.files.directory)->size();
  const auto engine = configure<LmEngineType>(source.config);
  build_from(source, Weights({source.files.weights}, false, Weights::Use::kCheck), [&](Weights& weights) {
    auto model = engine->build(tokens, weights);
    take_score_head(weights, *model);
    take_estimator(weights, *model);
    return model;
  });
}

}  // namespace seqmill::infer
