#include "infer/rope.h"

#include <cmath>

namespace seqmill::infer {

std::vector<float> rope_frequencies(const RopeOptions& rope, int64_t head_dim) {
  constexpr double kTurn = 6.283185307179586;
  std::vector<float> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    if (rope.scaling == "linear") frequency /= rope.factor;
    if (rope.scaling == "llama3") {
      // Long wavelengths are stretched, short ones are not, and between the two it changes smoothly.
      const double turns = static_cast<double>(rope.original_positions) * frequency / kTurn;
      const double smooth = (turns - rope.low_factor) / (rope.high_factor - rope.low_factor);
      if (smooth < 0) {
        frequency /= rope.factor;
      } else if (smooth < 1) {
        frequency *= (1 - smooth) / rope.factor + smooth;
      }
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

}  // namespace seqmill::infer
