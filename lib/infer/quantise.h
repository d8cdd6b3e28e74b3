#pragma once
// Making models of 8-bit integers from trained ones.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"

namespace seqmill::infer {

struct QuantiseOptions {
  /// dynamic: weights are integers, the rows that they multiply are rounded while decoding, everything between products stays float32.
  /// scale-propagation: everything from the embeddings to the logits is integers with scales: of an integer-transformer, or of a
  /// language model whose attention is polynomial, norm l1, activation relu and positions learned.
  std::string mode = "dynamic";
  int64_t bits = 8;                  ///< integers go from -(2^(bits-1) - 1) to 2^(bits-1) - 1: weights, and in scale-propagation all that is computed
  std::string weight_scale = "channel";  ///< a scale for each output, or one for the whole tensor
  std::string rounding = "nearest";  ///< half away from zero; trunc: towards zero; stochastic (of weights): up or down with the probability that keeps the mean
  std::string granularity = "row";   ///< whose numbers share a scale while scale-propagation computes: "sentence", "row", "head"
  std::string rescale = "max";       ///< when it re-scales: "max", "pow2", "always"; see kernel::Rescaling
  std::vector<std::string> modules;  ///< which modules become integers, or integers of `bits`; none: all. See modules_of_model().
  /// What stays: names of tensors, or their beginnings, as they are; in scale-propagation names of sub-layers, or their beginnings, "last-residual" and
  /// "last-norm", in 16 bits.
  std::vector<std::string> keep;

  void declare(Options& options);
  bool throughout() const { return mode == "scale-propagation"; }
};

/// What became of one tensor.
struct TensorReport {
  std::string name, module;   ///< module: "" for what belongs to none
  bool quantised = false;
  double error = 0;           ///< root of the mean squared error over that of the mean square
  double at_limit = 0;        ///< share of integers of the largest size
  int64_t bytes_before = 0, bytes_after = 0;  ///< scales included
};

/// The modules that weight matrices belong to: "embedding", "output"; of translation models "encoder-attention", "encoder-ffn", "decoder-self", "decoder-cross",
/// "decoder-ffn"; of language models "attention", "ffn".
std::vector<std::string> modules_of_model();

/// Reads the model at `model` (model directory, checkpoint or run) and writes a model directory `output`, which must not exist: it appears when it is
/// complete. Throws Error for weights that are not finite or are integers already, a usage error for a module or tensor that the model has not.
std::vector<TensorReport> quantise_model(const std::string& model, const std::string& output, const QuantiseOptions& options, uint64_t seed);

}  // namespace seqmill::infer
