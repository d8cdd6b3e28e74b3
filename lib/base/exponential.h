#pragma once
// exp for whole rows of probabilities. The library's is exact to the last bit but takes one number at a time.

#include <cstdint>
#include <cstring>

namespace seqmill {

/// exp(x) for x <= 0 within 2 units in the last place; 0 below -87; exactly 1 at 0; NaN for NaN. Branch-free, so that the compiler
/// vectorises loops over it. Method: Cephes' expf (Moshier, 1992). Static: each instruction set it is compiled for keeps its own.
static inline float exp_of_negative(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float shifted = x * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  uint32_t bits, power;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&power, &shifted, sizeof power);
  bits += power << 23;  // times 2^n; the bits of kRound itself are shifted out
  float result;
  std::memcpy(&result, &bits, sizeof result);
  result = x < -87.0f ? 0.0f : result;
  return x == x ? result : x;
}

}  // namespace seqmill
