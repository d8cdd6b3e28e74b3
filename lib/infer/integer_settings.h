#pragma once
// How a model of mode scale-propagation is to be computed: what the metadata of its weights say.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "infer/integer_rows.h"
#include "infer/weights.h"

namespace seqmill::infer {

/// Biases are integers of at most this size: sums of products and one of them fit into 32 bits.
constexpr int64_t kLargestBias = 1 << 22;

/// What a number of so many bits is at most.
constexpr int64_t integer_limit(int64_t bits) { return (int64_t{1} << (bits - 1)) - 1; }

struct IntegerSettings {
  static constexpr int64_t kWideBits = 16;

  int64_t bits = 8;                ///< 4 to 8, or 16
  Requantising how;
  std::vector<std::string> wide;   ///< what is computed in 16 bits: beginnings of names of sub-layers (IntegerPlace::scope); "last-residual", "last-norm"

  bool needs_16_bits() const { return bits > 8 || !wide.empty(); }
  /// The largest number in a sub-layer.
  int64_t limit_of(const std::string& scope) const;

  std::map<std::string, std::string> metadata() const;
};

/// Where a tensor of a model belongs when it is to become integers of this mode.
struct IntegerPlace {
  std::string scope;        ///< the sub-layer whose bits it has, or what beside sub-layers has bits of its own: "decoder.5.ffn", "model.norm"
  std::string module;       ///< of modules_of_model() in infer/quantise.h
  bool is_real = false;     ///< it stays what it is
  bool is_positions = false; ///< rows of it always have scales of their own, and the scope is that of the embedding that they are added to
  bool is_last_norm = false; ///< its scope is that of the norm in front of the output layer
};

/// By the names of their options.
Requantising requantising_of(const std::string& granularity, const std::string& rescaling, const std::string& rounding);

/// Throws Error for metadata that say something unknown.
IntegerSettings read_integer_settings(const Weights& weights);

}  // namespace seqmill::infer
