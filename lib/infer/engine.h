#pragma once
// The inference engine: models decoded without LibTorch. One file per architecture, which registers itself under its model.type.

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/options.h"
#include "base/registry.h"
#include "infer/model_config.h"
#include "infer/translation_model.h"
#include "infer/weights.h"
#include "io/run_dir.h"

namespace seqmill::infer {

/// The options of one architecture; with weights they are a model.
class EngineConfig {
 public:
  virtual ~EngineConfig() = default;
  virtual void declare(Options& options) = 0;  ///< keys "model.<name>", those of the training side
  /// Throws a usage error unless the model can be computed in integers throughout (int8-quantize --mode scale-propagation).
  virtual void check_scale_propagation() const;
  virtual std::unique_ptr<TranslationModel> build(const VocabularySizes& vocabulary, Weights& weights) const = 0;
};

/// An entry of the registry of what the engine can decode.
struct EngineType {
  static const char* kind() { return "model type of the engine"; }
  std::function<std::unique_ptr<EngineConfig>()> config;
};

/// Whether the engine knows this model.type.
bool engine_knows(const std::string& type);

/// A model directory, checkpoint or run, as far as it must be read to know what it is.
struct ModelSource {
  explicit ModelSource(const std::string& path);
  std::string path;
  io::ModelFiles files;
  ModelConfig config;
};

/// Whether a registry knows this model.type.
template <typename Type>
bool registry_has(const std::string& type) {
  const std::vector<std::string> known = Registry<Type>::instance().names();
  return std::find(known.begin(), known.end(), type) != known.end();
}

/// The options of its architecture, as its config.yaml has them: those of a registry's entry `Type`.
template <typename Type>
auto configure(const ModelConfig& config) {
  auto options_of_type = Registry<Type>::instance().get(config.type).config();
  std::string type = config.type;
  config.apply([&](Options& options) {
    options.add("model.type", type, "Architecture");
    options_of_type->declare(options);
  });
  return options_of_type;
}

/// Those of a source or, with `average` > 0, the mean of that many newest checkpoints of a run.
Weights weights_of(const ModelSource& source, int64_t average, bool to_bfloat16);

/// What build(weights) makes of the weights of a source, which must take all.
template <typename Build>
auto build_from(const ModelSource& source, Weights weights, Build build) {
  return with_options_of(source.files.config, [&] {
    auto model = build(weights);
    weights.check();
    return model;
  });
}

/// The options of its architecture.
std::unique_ptr<EngineConfig> configure_engine(const ModelConfig& config);

/// `average` > 0: the mean of that many newest checkpoints of a run.
/// `to_bfloat16`: products in bfloat16, where the CPU has them (else Error); those of 8-bit integers stay what they are.
LoadedModel load_in_engine(const ModelSource& source, int64_t average = 0, bool to_bfloat16 = false);

}  // namespace seqmill::infer
