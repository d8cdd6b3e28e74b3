#pragma once
// What positions of sines (Vaswani et al., 2017, section 3.5) are made of.

#include <cmath>
#include <cstdint>
#include <vector>

namespace seqmill::infer {

/// The angles of a position by pair of dimensions, divided by the position: 10000^(-i / pairs).
inline std::vector<float> frequencies(int64_t pairs) {
  std::vector<float> all;
  const auto exponent = static_cast<float>(-std::log(10000.0) / static_cast<double>(pairs));
  for (int64_t i = 0; i < pairs; ++i) all.push_back(std::exp(static_cast<float>(i) * exponent));
  return all;
}

}  // namespace seqmill::infer
