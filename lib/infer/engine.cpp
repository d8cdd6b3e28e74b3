#include "infer/engine.h"

namespace seqmill::infer {

bool engine_knows(const std::string& type) { return registry_has<EngineType>(type); }

ModelSource::ModelSource(const std::string& path) : path(path), files(io::find_model(path)), config(read_model_config(files.config)) {}

Weights weights_of(const ModelSource& source, int64_t average, bool to_bfloat16) {
  return Weights(average > 0 ? io::newest_checkpoints(source.path, average) : std::vector<std::string>{source.files.weights}, to_bfloat16);
}

void EngineConfig::check_scale_propagation() const {
  fail_usage("scale-propagation is for models of type integer-transformer; --mode dynamic takes others");
}

std::unique_ptr<EngineConfig> configure_engine(const ModelConfig& config) { return configure<EngineType>(config); }

LoadedModel load_in_engine(const ModelSource& source, int64_t average, bool to_bfloat16) {
  LoadedModel loaded;
  loaded.vocabularies = load_vocabularies(source.files.directory);
  const std::unique_ptr<EngineConfig> engine = configure_engine(source.config);
  loaded.model = build_from(source, weights_of(source, average, to_bfloat16), [&](Weights& weights) { return engine->build(loaded.vocabularies.sizes(), weights); });
  return loaded;
}

}  // namespace seqmill::infer
