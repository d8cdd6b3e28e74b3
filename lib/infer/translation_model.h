#pragma once
// A translation model as its users see it, whatever computes it: the engine of this folder or LibTorch.

#include <cstdint>
#include <memory>
#include <vector>

#include "infer/tokens.h"
#include "infer/vocabularies.h"
#include "search/step_decoder.h"

namespace seqmill::infer {

class TranslationModel {
 public:
  virtual ~TranslationModel() = default;

  /// The longest sequence of either side, begin or end symbol included.
  virtual int64_t max_positions() const = 0;

  /// Called once by each thread that is going to use the model, which computes alone in it.
  virtual void begin_worker() const {}

  /// Incremental decoding of these sources, each with its end symbol. For several threads at a time, each with sources of its own. The model must
  /// outlive the decoder.
  virtual std::unique_ptr<search::StepDecoder> start(const std::vector<Tokens>& sources) const = 0;

  /// log p of every token of the targets but the first, one target after another. Sources have an end symbol, targets a begin symbol and an end
  /// symbol. By steps of a decoder, unless a model has a faster way.
  virtual std::vector<double> score(const std::vector<Tokens>& sources, const std::vector<Tokens>& targets) const;
};

/// A model and what belongs to it.
struct LoadedModel {
  std::unique_ptr<TranslationModel> model;
  Vocabularies vocabularies;
};

}  // namespace seqmill::infer
