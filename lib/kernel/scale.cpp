#include "kernel/scale.h"

namespace seqmill::kernel {

namespace detail {
bool counts_scale_operations = false;
std::atomic<int64_t> scale_operations{0};
}  // namespace detail

namespace {

constexpr int32_t kLargestShift = 63;

int32_t bits_of(uint64_t number) { return 64 - __builtin_clzll(number); }  // of what is not 0

Multiplier multiplier(uint32_t mantissa, int32_t shift, Rounding rounding) {
  if (shift > kLargestShift) return {0, 31, 0};  // less than half of the smallest integer
  return {mantissa, shift, rounding == Rounding::kTruncate || shift == 0 ? 0 : uint64_t{1} << (shift - 1)};
}

/// numerator / denominator, rounded up: so that what should become an integer does not fall short of it. In integers of this type, which hold 32 bits more
/// than the denominator.
template <typename Integer>
Multiplier quotient(Integer numerator, Integer denominator, Rounding rounding) {
  int32_t shift = 32 + bits_of(static_cast<uint64_t>(denominator)) - bits_of(static_cast<uint64_t>(numerator));
  Integer mantissa = ((numerator << shift) + denominator - 1) / denominator;
  if (mantissa > 0xffffffff) {  // of 32 bits, not 33
    --shift;
    mantissa = ((numerator << shift) + denominator - 1) / denominator;
  }
  return multiplier(static_cast<uint32_t>(mantissa), shift, rounding);
}

Multiplier quotient(int64_t numerator, int64_t denominator, Rounding rounding) {
  __extension__ using Wide = unsigned __int128;
  if (denominator < int64_t{1} << 31) return quotient<uint64_t>(static_cast<uint64_t>(numerator), static_cast<uint64_t>(denominator), rounding);
  return quotient<Wide>(static_cast<Wide>(numerator), static_cast<Wide>(denominator), rounding);
}

}  // namespace

void count_scale_operations(bool on) {
  detail::counts_scale_operations = on;
  detail::scale_operations = 0;
}

int64_t scale_operations() { return detail::scale_operations; }

Multiplier matching(Scale common, Scale own, Rounding rounding) {
  if (own == common) return multiplier(uint32_t{1} << 31, 31, rounding);
  if (own.is_of_zeros()) return {0, 31, 0};
  int exponent;
  const float fraction = std::frexp((common / own).value(), &exponent);  // 0.5 <= fraction < 1
  return multiplier(static_cast<uint32_t>(fraction * 4294967296.0F), 32 - exponent, rounding);
}

Rescaled rescaled(int64_t largest, int64_t limit, Scale scale, Rescaling rescaling, Rounding rounding) {
  if (largest == 0) return {Multiplier{}, Scale::of_zeros()};
  if (largest == limit || (largest < limit && rescaling != Rescaling::kAlways)) return {Multiplier{}, scale};
  if (rescaling == Rescaling::kPow2) {
    int32_t shift = 0;
    while (largest > limit << shift) ++shift;
    return {multiplier(uint32_t{1} << 31, 31 + shift, rounding), scale / Scale(static_cast<float>(int64_t{1} << shift))};
  }
  return {quotient(limit, largest, rounding),
          scale * Scale(static_cast<float>(limit)) / Scale(static_cast<float>(largest))};
}

}  // namespace seqmill::kernel
