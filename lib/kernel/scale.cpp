#include "kernel/scale.h"

#include <algorithm>

namespace seqmill::kernel {

namespace detail {
bool counts_scale_operations = false;
std::atomic<int64_t> scale_operations{0};
std::atomic<bool> watches_scales{false};
}  // namespace detail

namespace {

/// ScaleCounts while several threads count. Bits are counted in thousandths.
struct Counters {
  std::atomic<int64_t> matched{0}, lost{0}, most_lost{0}, sums{0}, over{0}, largest_sum{0};
} counters;

void raise(std::atomic<int64_t>& most, int64_t value) {
  int64_t now = most;
  while (now < value && !most.compare_exchange_weak(now, value)) {
  }
}

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

void detail::count_matching(float ratio) {
  const int64_t lost = std::lround(1000 * std::min(32.0F, -std::log2(ratio)));
  ++counters.matched;
  counters.lost += lost;
  raise(counters.most_lost, lost);
}

void detail::count_rescaling(int64_t largest, int64_t limit) {
  ++counters.sums;
  if (largest > limit) ++counters.over;
  raise(counters.largest_sum, largest);
}

void watch_scales(bool on) {
  if (on) {
    for (std::atomic<int64_t>* counter : {&counters.matched, &counters.lost, &counters.most_lost, &counters.sums, &counters.over, &counters.largest_sum}) *counter = 0;
  }
  detail::watches_scales = on;
}

ScaleCounts scale_counts() {
  ScaleCounts counts;
  counts.matched = counters.matched;
  counts.lost_bits = static_cast<double>(counters.lost) / 1000 / static_cast<double>(std::max<int64_t>(1, counts.matched));
  counts.most_lost_bits = static_cast<double>(counters.most_lost) / 1000;
  counts.sums = counters.sums;
  counts.over = counters.over;
  counts.largest_sum_bits = std::log2(static_cast<double>(std::max<int64_t>(1, counters.largest_sum)));
  return counts;
}

Multiplier matching(Scale common, Scale own, Rounding rounding) {
  if (own == common) return multiplier(uint32_t{1} << 31, 31, rounding);
  if (own.is_of_zeros()) return {0, 31, 0};
  const float ratio = (common / own).value();
  if (detail::watches()) detail::count_matching(ratio);
  int exponent;
  const float fraction = std::frexp(ratio, &exponent);  // 0.5 <= fraction < 1
  return multiplier(static_cast<uint32_t>(fraction * 4294967296.0F), 32 - exponent, rounding);
}

Rescaled rescaled(int64_t largest, int64_t limit, Scale scale, Rescaling rescaling, Rounding rounding) {
  if (largest == 0) return {Multiplier{}, Scale::of_zeros()};
  if (detail::watches()) detail::count_rescaling(largest, limit);
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
