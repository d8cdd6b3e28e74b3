#pragma once
// The Transformer encoder-decoder (Vaswani et al., 2017, "Attention Is All You Need"), with pre-norm or post-norm residuals (Wang et al., 2019,
// "Learning Deep Transformer Models for Machine Translation"), and the Integer Transformer made of it (Lin et al., 2020, "Towards Fully 8-bit Integer
// Inference for the Transformer Model"): what their config.yaml says, for training and for the engine.

#include <cstdint>
#include <string>

#include "base/options.h"
#include "infer/vocabularies.h"

namespace seqmill::infer {

/// Attention whose weights are a polynomial of the scores instead of their softmax (eqs. 11 and 12). Bias and delta are what training begins with.
struct PolynomialOptions {
  int64_t degree = 0;  ///< 0: softmax
  double bias = 1, delta = 0.01;
};

struct TransformerOptions {
  int64_t dim = 512, ffn = 2048, heads = 8, encoder_layers = 6, decoder_layers = 6, max_positions = 1024;
  double dropout = 0.1, attention_dropout = 0, activation_dropout = 0;
  std::string norm = "pre", positions = "sinusoidal", tie = "decoder", activation = "relu";
  // What no option of a Transformer sets.
  PolynomialOptions polynomial;
  bool l1_norm = false;  ///< normalisation by the mean deviation (eq. 13) instead of the standard deviation

  void declare(Options& options);
  /// Throws a usage error for options that do not go together.
  void check(const VocabularySizes& vocabulary) const;
};

/// A Transformer that 8-bit integers can compute: without exponentials and without square roots.
struct IntegerTransformerOptions {
  TransformerOptions transformer;
  std::string attention = "polynomial", norm_kind = "l1";
  PolynomialOptions polynomial{3};

  void declare(Options& options);
  /// What is to be built. Throws a usage error for options that do not go together.
  TransformerOptions resolve(const VocabularySizes& vocabulary) const;
};

}  // namespace seqmill::infer
