#pragma once
// The Transformer encoder-decoder (Vaswani et al., 2017, "Attention Is All You Need"), with pre-norm or post-norm residuals (Wang et al., 2019,
// "Learning Deep Transformer Models for Machine Translation"): what its config.yaml says, for training and for the engine.

#include <cstdint>
#include <string>

#include "base/options.h"
#include "infer/vocabularies.h"

namespace seqmill::infer {

struct TransformerOptions {
  int64_t dim = 512, ffn = 2048, heads = 8, encoder_layers = 6, decoder_layers = 6, max_positions = 1024;
  double dropout = 0.1, attention_dropout = 0, activation_dropout = 0;
  std::string norm = "pre", positions = "sinusoidal", tie = "decoder", activation = "relu";

  void declare(Options& options);
  /// Throws a usage error for options that do not go together.
  void check(const VocabularySizes& vocabulary) const;
};

}  // namespace seqmill::infer
