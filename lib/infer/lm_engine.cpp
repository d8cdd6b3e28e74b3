#include "infer/lm_engine.h"

#include <algorithm>

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

}  // namespace

void LmEngineConfig::check_scale_propagation() const { fail_usage("scale-propagation is for language models of type llama; --mode dynamic takes others"); }

IntegerPlace LmEngineConfig::place_of(const std::string&) const { return {}; }

bool lm_engine_knows(const std::string& type) { return registry_has<LmEngineType>(type); }

LoadedLanguageModel load_lm_in_engine(const ModelSource& source, int64_t average, bool to_bfloat16, std::shared_ptr<const text::Tokenizer> tokenizer) {
  LoadedLanguageModel loaded;
  loaded.tokenizer = tokenizer ? std::move(tokenizer) : text::load_tokenizer(source.files.directory);
  loaded.chat_template = source.config.chat_template;
  const auto engine = configure<LmEngineType>(source);
  loaded.model = build_from(source, weights_of(source, average, to_bfloat16), [&](Weights& weights) {
    auto model = engine->build(loaded.tokenizer->size(), weights);
    loaded.score_head = take_score_head(weights, *model);
    return model;
  });
  return loaded;
}

void check_lm_in_engine(const ModelSource& source) {
  const int64_t tokens = text::load_tokenizer(source.files.directory)->size();
  const auto engine = configure<LmEngineType>(source);
  build_from(source, Weights({source.files.weights}, false, Weights::Use::kCheck), [&](Weights& weights) {
    auto model = engine->build(tokens, weights);
    take_score_head(weights, *model);
    return model;
  });
}

}  // namespace seqmill::infer
