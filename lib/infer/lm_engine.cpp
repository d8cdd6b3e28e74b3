#include "infer/lm_engine.h"

namespace seqmill::infer {

void LmEngineConfig::check_scale_propagation() const { fail_usage("scale-propagation is for language models of type llama; --mode dynamic takes others"); }

IntegerPlace LmEngineConfig::place_of(const std::string&) const { return {}; }

bool lm_engine_knows(const std::string& type) { return registry_has<LmEngineType>(type); }

LoadedLanguageModel load_lm_in_engine(const ModelSource& source, int64_t average, bool to_bfloat16, std::shared_ptr<const text::Tokenizer> tokenizer) {
  LoadedLanguageModel loaded;
  loaded.tokenizer = tokenizer ? std::move(tokenizer) : text::load_tokenizer(source.files.directory);
  loaded.chat_template = source.config.chat_template;
  const auto engine = configure<LmEngineType>(source);
  loaded.model = build_from(source, weights_of(source, average, to_bfloat16), [&](Weights& weights) { return engine->build(loaded.tokenizer->size(), weights); });
  return loaded;
}

void check_lm_in_engine(const ModelSource& source) {
  const int64_t tokens = text::load_tokenizer(source.files.directory)->size();
  const auto engine = configure<LmEngineType>(source);
  build_from(source, Weights({source.files.weights}, false, Weights::Use::kCheck), [&](Weights& weights) { return engine->build(tokens, weights); });
}

}  // namespace seqmill::infer
