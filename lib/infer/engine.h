#pragma once
// The inference engine: models decoded without LibTorch. One file per architecture, which registers itself under its model.type.

#include <functional>
#include <memory>
#include <string>

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

/// The options of its architecture, as its config.yaml has them.
std::unique_ptr<EngineConfig> configure_engine(const ModelSource& source);

/// `average` > 0: the mean of that many newest checkpoints of a run.
/// `to_bfloat16`: products in bfloat16, where the CPU has them (else Error); those of 8-bit integers stay what they are.
LoadedModel load_in_engine(const ModelSource& source, int64_t average = 0, bool to_bfloat16 = false);

}  // namespace seqmill::infer
