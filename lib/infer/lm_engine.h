#pragma once
// The inference engine for language models. One file per architecture, which registers itself under its model.type.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "infer/engine.h"
#include "infer/integer_settings.h"
#include "infer/language_model.h"

namespace seqmill::infer {

/// The tensor [heads, dim] that makes a language model a reward model.
constexpr const char* kScoreHead = "score.weight";
/// Whether a tensor belongs to what makes scores of hidden states: that one, or one of a learned metric (infer/estimator_head.h).
bool is_score_head(const std::string& tensor);

/// What a model is, without loading it.
struct LmSize {
  int64_t parameters = 0;
  int64_t cache_numbers = 0;  ///< keys and values of one token
  int64_t max_positions = 0;
  int64_t rows = 0;           ///< of the embedding, and numbers of each row of logits
  int64_t row_numbers = 0;    ///< what a token on its way through the layers takes besides
};

/// The options of one architecture; with weights they are a model.
class LmEngineConfig {
 public:
  virtual ~LmEngineConfig() = default;
  virtual void declare(Options& options) = 0;  ///< keys "model.<name>" and "lora.<name>", those of the training side
  /// For a tokeniser of so many tokens, which may be fewer than the model's vocabulary: embeddings are often padded. Throws a usage error for options that do
  /// not go together.
  virtual LmSize size(int64_t tokens) const = 0;
  virtual std::unique_ptr<LanguageModel> build(int64_t tokens, Weights& weights) const = 0;
  /// Tensors that a file may hold besides, each with the one that it must be equal to: nobody needs them.
  virtual std::map<std::string, std::string> copies() const { return {}; }
  /// The module that a weight matrix belongs to, for int8-quantize: "embedding", "output", "attention" or "ffn"; "" for what is none of them.
  virtual std::string module_of(const io::TensorRecord& record) const = 0;
  /// As that of EngineConfig.
  virtual void check_scale_propagation() const;
  /// Of models that pass this check.
  virtual IntegerPlace place_of(const std::string& tensor) const;
};

/// An entry of the registry of the language models that the engine can compute.
struct LmEngineType {
  static const char* kind() { return "language model type of the engine"; }
  std::function<std::unique_ptr<LmEngineConfig>()> config;
};

/// Whether the engine knows this model.type.
bool lm_engine_knows(const std::string& type);

/// As load_in_engine() for translation models. With threads().
LoadedLanguageModel load_lm_in_engine(const ModelSource& source, int64_t average = 0, bool to_bfloat16 = false,
                                      std::shared_ptr<const text::Tokenizer> tokenizer = nullptr);
/// Throws what that would throw, and spends neither its time nor its memory.
void check_lm_in_engine(const ModelSource& source);

}  // namespace seqmill::infer
