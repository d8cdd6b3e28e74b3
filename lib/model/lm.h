#pragma once
// Decoder-only language models. Consumers know this interface; each architecture is one file beside it.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/options.h"
#include "base/registry.h"
#include "data/batch.h"
#include "infer/language_model.h"
#include "infer/model_config.h"
#include "loss/cross_entropy.h"
#include "model/output_layer.h"
#include "nn/parameters.h"

namespace seqmill::model {

class Lm {
 public:
  virtual ~Lm() = default;
  virtual nn::Parameters& parameters() = 0;
  virtual OutputLayer output_layer() const = 0;
  virtual int64_t max_positions() const = 0;
  /// A token sees all of its text, not only what is before it: such a model gives states, and predicts nothing.
  virtual bool sees_all() const { return false; }
  /// Throws a usage error for a model that predicts nothing.
  void check_predicts() const;

  /// Hidden states [N, D] behind the last layer at every row of packed sequences. `stream` null: evaluation.
  virtual at::Tensor features(const data::PackedTokens& input, tensor::DropoutStream* stream) const = 0;

  /// Whether the backward pass computes each layer again instead of keeping what it needs (tensor/checkpoint.h): slower by a third, with much less memory.
  virtual void set_checkpointing(bool checkpointing) = 0;

  /// Incremental decoding in evaluation mode, on the CPU side of the interface. The model must outlive it.
  virtual std::unique_ptr<infer::SequenceDecoder> start() const = 0;

  /// Of the tokens that rows `rows` [M] int64 of the input are followed by, `targets` [M]; `rows` undefined: of all rows.
  loss::TokenLoss loss(const data::PackedTokens& input, const at::Tensor& rows, const at::Tensor& targets, double label_smoothing,
                       tensor::DropoutStream* stream) const;
  /// log p of the same [M], without gradient.
  at::Tensor target_logprobs(const data::PackedTokens& input, const at::Tensor& rows, const at::Tensor& targets) const;
};

/// Numbers of a model that are trained, and that stay as they are.
struct LmSize {
  int64_t trained = 0, fixed = 0;
};

/// The options of one architecture; what they describe can be built.
class LmConfig {
 public:
  virtual ~LmConfig() = default;
  virtual void declare(Options& options) = 0;  ///< keys "model.<name>" and "lora.<name>"
  /// Throws a usage error for options that do not go together. Without a seed the weights are left unset, for a model that gets them elsewhere.
  virtual std::unique_ptr<Lm> build(int64_t vocabulary, std::optional<uint64_t> seed) const = 0;
  /// What build() would make, without making it.
  virtual LmSize size(int64_t vocabulary) const = 0;
};

/// An entry of the registry of architectures.
struct LmType {
  static const char* kind() { return "language model type"; }
  std::string paper;
  std::function<std::unique_ptr<LmConfig>()> config;
};

/// Declares "model.type" and the options of the type the user chose.
std::unique_ptr<LmConfig> declare_lm(Options& options, std::string& type);
/// The same with the type and the options of another model as defaults.
std::unique_ptr<LmConfig> declare_lm(Options& options, std::string& type, const infer::ModelConfig& defaults);

/// "name  paper" lines for --list-models.
std::string list_lms();

}  // namespace seqmill::model
