#include "infer/engine.h"

#include <algorithm>

#include "base/error.h"

namespace seqmill::infer {

bool engine_knows(const std::string& type) {
  const std::vector<std::string> known = Registry<EngineType>::instance().names();
  return std::find(known.begin(), known.end(), type) != known.end();
}

ModelSource::ModelSource(const std::string& path) : path(path), files(io::find_model(path)), config(read_model_config(files.config)) {}

void EngineConfig::check_scale_propagation() const {
  fail_usage("scale-propagation is for models of type integer-transformer; --mode dynamic takes others");
}

std::unique_ptr<EngineConfig> configure_engine(const ModelSource& source) {
  std::unique_ptr<EngineConfig> engine = Registry<EngineType>::instance().get(source.config.type).config();
  std::string type = source.config.type;
  source.config.apply([&](Options& options) {
    options.add("model.type", type, "Architecture");
    engine->declare(options);
  });
  return engine;
}

LoadedModel load_in_engine(const ModelSource& source, int64_t average, bool to_bfloat16) {
  LoadedModel loaded;
  loaded.vocabularies = load_vocabularies(source.files.directory);
  const std::unique_ptr<EngineConfig> engine = configure_engine(source);
  Weights weights(average > 0 ? io::newest_checkpoints(source.path, average) : std::vector<std::string>{source.files.weights}, to_bfloat16);
  try {
    loaded.model = engine->build(loaded.vocabularies.sizes(), weights);
  } catch (const Error& error) {
    if (error.exit_code() != kExitUsage) throw;
    throw Error(fmt::format("{}: {}", source.files.config, error.what()));  // the options are the file's, not the user's
  }
  weights.check();
  return loaded;
}

}  // namespace seqmill::infer
