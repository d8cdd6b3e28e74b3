#include "infer/engine.h"

#include <algorithm>

#include "base/error.h"
#include "infer/model_config.h"
#include "io/run_dir.h"

namespace seqmill::infer {

bool engine_knows(const std::string& type) {
  const std::vector<std::string> known = Registry<EngineType>::instance().names();
  return std::find(known.begin(), known.end(), type) != known.end();
}

LoadedModel load_in_engine(const std::string& path, int64_t average, bool to_bfloat16) {
  const io::ModelFiles files = io::find_model(path);
  const ModelConfig config = read_model_config(files.config);
  LoadedModel loaded;
  loaded.vocabularies = load_vocabularies(files.directory);
  std::unique_ptr<EngineConfig> engine = Registry<EngineType>::instance().get(config.type).config();
  std::string type = config.type;
  config.apply([&](Options& options) {
    options.add("model.type", type, "Architecture");
    engine->declare(options);
  });
  Weights weights(average > 0 ? io::newest_checkpoints(path, average) : std::vector<std::string>{files.weights}, to_bfloat16);
  try {
    loaded.model = engine->build(loaded.vocabularies.sizes(), weights);
  } catch (const Error& error) {
    if (error.exit_code() != kExitUsage) throw;
    throw Error(fmt::format("{}: {}", files.config, error.what()));  // the options are the file's, not the user's
  }
  weights.check();
  return loaded;
}

}  // namespace seqmill::infer
