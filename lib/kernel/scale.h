#pragma once
// Scales of integers, and what brings integers from one scale to another (Lin et al., 2020, "Towards Fully 8-bit Integer Inference for the Transformer
// Model", section 3). An integer x of scale s stands for the real number x / s. Scales are the only floating-point numbers of integer inference: one for a
// row of integers or a part of it.

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

namespace seqmill::kernel {

namespace detail {
extern bool counts_scale_operations;
extern std::atomic<int64_t> scale_operations;
inline void count_scale_operation() {
  if (counts_scale_operations) scale_operations.fetch_add(1, std::memory_order_relaxed);
}
extern std::atomic<bool> watches_scales;
void count_matching(float ratio);
void count_rescaling(int64_t largest, int64_t limit);
inline bool watches() { return watches_scales.load(std::memory_order_relaxed); }
}  // namespace detail

/// A debug switch: while it is on, scale_operations() counts the arithmetic done on scales. Of a path that has no other floating-point numbers this is all
/// its floating-point arithmetic, and it must not depend on the width of rows.
void count_scale_operations(bool on);
int64_t scale_operations();

/// What scales did to integers while they were watched, by all threads.
struct ScaleCounts {
  int64_t matched = 0;         ///< rows, or parts of them, that were brought to a smaller scale, one in common with others (eq. 8)
  double lost_bits = 0;        ///< log2(own / common) of these, on average, at most 32: so many of their bits are gone
  double most_lost_bits = 0;
  int64_t sums = 0;            ///< rows of sums, or parts of them, that became integers again; those of zeros not counted
  int64_t over = 0;            ///< of these: had numbers beyond the limit and were re-scaled (eq. 10)
  double largest_sum_bits = 0; ///< log2 of the largest number among these sums: 31 would be too many for what adds them up in 32 bits
};

/// While it is on, scale_counts() are counted; turning it on begins anew.
void watch_scales(bool on);
ScaleCounts scale_counts();

/// Positive. Integers that are all zero have the scale infinity: they stand for zero at any scale, and matching passes them over.
class Scale {
 public:
  Scale() = default;
  explicit constexpr Scale(float value) : value_(value) {}
  static constexpr Scale of_zeros() { return Scale(std::numeric_limits<float>::infinity()); }

  constexpr float value() const { return value_; }
  bool is_of_zeros() const { return value_ == std::numeric_limits<float>::infinity(); }

  friend Scale operator*(Scale a, Scale b) {
    detail::count_scale_operation();
    return Scale(a.value_ * b.value_);
  }
  friend Scale operator/(Scale a, Scale b) {
    detail::count_scale_operation();
    return Scale(a.value_ / b.value_);
  }
  friend Scale operator+(Scale a, Scale b) {
    detail::count_scale_operation();
    return Scale(a.value_ + b.value_);
  }
  friend Scale smaller(Scale a, Scale b) { return b.value_ < a.value_ ? b : a; }
  friend bool operator==(Scale a, Scale b) { return a.value_ == b.value_; }

 private:
  float value_ = 1;
};

/// A factor in integer arithmetic: mantissa / 2^shift. Products are rounded half away from zero, or towards zero when `half` is 0.
struct Multiplier {
  uint32_t mantissa = uint32_t{1} << 31;
  int32_t shift = 31;
  uint64_t half = uint64_t{1} << 30;

  bool is_one() const { return shift == 31 && mantissa == uint32_t{1} << 31; }
};

/// How integers are rounded: half away from zero, or towards zero.
enum class Rounding { kNearest, kTruncate };

/// What brings integers of scale `own` to the scale `common`, the smaller of the two (eq. 8).
Multiplier matching(Scale common, Scale own, Rounding rounding = Rounding::kNearest);

/// The same as a factor of 2^-31: for arrays of them.
inline uint32_t matching_ratio(Scale common, Scale own) {
  if (own == common) return uint32_t{1} << 31;
  if (own.is_of_zeros()) return 0;
  const float ratio = (common / own).value();
  if (detail::watches()) detail::count_matching(ratio);
  return static_cast<uint32_t>(ratio * 2147483648.0F);
}

/// When integers whose largest magnitude is not the limit are brought to it.
enum class Rescaling {
  kMax,    ///< only those that exceed it (eq. 10)
  kPow2,   ///< these by the next power of two, a shift
  kAlways  ///< smaller ones too
};

/// Integers of at most `largest` become integers of at most `limit` by this factor; their scale becomes `scale`.
struct Rescaled {
  Multiplier factor;
  Scale scale;
};
Rescaled rescaled(int64_t largest, int64_t limit, Scale scale, Rescaling rescaling = Rescaling::kMax, Rounding rounding = Rounding::kNearest);

}  // namespace seqmill::kernel
