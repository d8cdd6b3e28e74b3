#pragma once
// Models that read one sequence and write another. Consumers know this interface; each architecture is one file beside it.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/registry.h"
#include "data/batch.h"
#include "infer/model_config.h"
#include "infer/vocabularies.h"
#include "loss/cross_entropy.h"
#include "model/output_layer.h"
#include "nn/parameters.h"
#include "search/step_decoder.h"

namespace seqmill::model {

/// Decoding step by step within the graph of a training, as one-stage sampling does it: every step's activations, and the keys and values so far, stay until the backward pass.
class GraphDecoder {
 public:
  virtual ~GraphDecoder() = default;
  /// One step of all rows: their last tokens, at first the begin symbol. Hidden states [rows, D] that the next token is predicted from.
  virtual at::Tensor advance(const std::vector<int32_t>& tokens) = 0;
};

class Seq2Seq {
 public:
  virtual ~Seq2Seq() = default;

  virtual nn::Parameters& parameters() = 0;
  virtual OutputLayer output_layer() const = 0;
  /// The longest sequence of either side, begin or end symbol included.
  virtual int64_t max_positions() const { return std::numeric_limits<int64_t>::max(); }

  /// Hidden states [M, D] of the last decoder layer at every row of batch.target_input. `stream` null: evaluation.
  virtual at::Tensor features(const data::Batch& batch, tensor::DropoutStream* stream) const = 0;

  /// Incremental decoding of these sources, in evaluation mode, on the CPU side of the interface. The model must outlive it.
  virtual std::unique_ptr<search::StepDecoder> start(const data::PackedTokens& source) const = 0;

  /// `copies`: how many rows each source has, one after another. Without dropout. Throws a usage error for an architecture that has none. The model must outlive it.
  virtual std::unique_ptr<GraphDecoder> start_with_graph(const data::PackedTokens& source, const std::vector<int64_t>& copies) const;

  loss::TokenLoss loss(const data::Batch& batch, double label_smoothing, tensor::DropoutStream* stream) const;
  /// log p of every target token [M], without gradient.
  at::Tensor target_logprobs(const data::Batch& batch) const;
};

/// The options of one architecture; what they describe can be built.
class Seq2SeqConfig {
 public:
  virtual ~Seq2SeqConfig() = default;
  virtual void declare(Options& options) = 0;  ///< keys "model.<name>"
  /// Throws a usage error for options that do not go together. Without a seed the weights are left unset, for a model that gets them elsewhere.
  virtual std::unique_ptr<Seq2Seq> build(const infer::VocabularySizes& vocabulary, std::optional<uint64_t> seed) const = 0;
};

/// An entry of the registry of architectures.
struct Seq2SeqType {
  static const char* kind() { return "model type"; }
  std::string paper;
  std::function<std::unique_ptr<Seq2SeqConfig>()> config;
};

/// Declares "model.type" and the options of the type the user chose.
std::unique_ptr<Seq2SeqConfig> declare_seq2seq(Options& options, std::string& type);
/// The same with the type and the options of another model as defaults.
std::unique_ptr<Seq2SeqConfig> declare_seq2seq(Options& options, std::string& type, const infer::ModelConfig& defaults);

/// "name  paper" lines for --list-models.
std::string list_seq2seq_models();

}  // namespace seqmill::model
