#pragma once
// Rotary positions (Su et al., 2021, RoFormer): what they turn by.

#include <cstdint>
#include <string>
#include <vector>

namespace seqmill::infer {

/// Rotary positions beyond those of training: angles divided by a factor ("linear"), or by wavelength as Llama 3.1 does ("llama3").
struct RopeOptions {
  double theta = 10000;
  std::string scaling = "none";
  double factor = 1, low_factor = 1, high_factor = 4;
  int64_t original_positions = 8192;
};

/// Angles per position of the pairs of dimensions of a head [head_dim / 2] (Su et al., 2021, eq. 15), scaled.
std::vector<float> rope_frequencies(const RopeOptions& rope, int64_t head_dim);

}  // namespace seqmill::infer
