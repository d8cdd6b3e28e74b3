// Compiled once per instruction set, with SEQMILL_ISA naming it. No floating-point arithmetic here: a test looks for its instructions. Most loops are left to the
// compilers, which may reorder sums of integers.

#include <cassert>
#include <cstring>

#if defined(__AVX512BW__)
#include <immintrin.h>
#if !defined(__clang__)
// g++ 12 takes what its own intrinsics leave undefined on purpose for a mistake (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#endif

#include "kernel/integers.h"
#include "kernel/isa/names.h"

namespace seqmill::kernel {
namespace {

/// Unsigned numbers of the width of a sum, and of twice that, which holds a product with a mantissa.
template <typename Sum>
struct Unsigned;
template <>
struct Unsigned<int32_t> {
  using Magnitude = uint32_t;
  using Product = uint64_t;
};
template <>
struct Unsigned<int64_t> {
  using Magnitude = uint64_t;
  __extension__ using Product = unsigned __int128;
};

template <typename Sum>
inline typename Unsigned<Sum>::Magnitude magnitude(Sum z) {
  using Magnitude = typename Unsigned<Sum>::Magnitude;
  return z < 0 ? Magnitude{0} - static_cast<Magnitude>(z) : static_cast<Magnitude>(z);
}

/// z * mantissa / 2^shift.
template <typename Sum>
inline Sum times(Sum z, uint32_t mantissa, int32_t shift, uint64_t half) {
  using Product = typename Unsigned<Sum>::Product;
  const auto result = static_cast<Sum>((Product{magnitude(z)} * mantissa + half) >> shift);
  return z < 0 ? -result : result;
}

template <typename Sum>
inline Sum times(Sum z, Multiplier factor) {
  return times(z, factor.mantissa, factor.shift, factor.half);
}

template <typename Sum>
inline Sum largest_of(const Sum* z, int64_t count) {
  Sum largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto size = static_cast<Sum>(magnitude(z[i]));
    largest = size > largest ? size : largest;
  }
  return largest;
}

template <typename Number>
void multiply(const Number* x, int64_t rows, int64_t stride, const Number* weight, int64_t outputs, int64_t inputs, SumOf<Number>* out) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < outputs; ++o) {
      const Number *row = x + r * stride, *column = weight + o * inputs;
      SumOf<Number> sum = 0;
      for (int64_t k = 0; k < inputs; ++k) sum += static_cast<int32_t>(row[k]) * static_cast<int32_t>(column[k]);
      out[r * outputs + o] = sum;
    }
  }
}

#if defined(__AVX512BW__)

/// Sixteen sums at a time: compilers multiply 64 bits by 64, where 32 by 32 will do.
constexpr int64_t kWide = 16;

struct WideMultiplier {
  explicit WideMultiplier(Multiplier factor)
      : mantissa(_mm512_set1_epi64(factor.mantissa)), half(_mm512_set1_epi64(static_cast<int64_t>(factor.half))), shift(_mm_cvtsi32_si128(factor.shift)) {}
  __m512i mantissa, half;
  __m128i shift;
};

/// z * (even, odd mantissas) / 2^shift.
inline __m512i times(__m512i z, __m512i even, __m512i odd, const WideMultiplier& as) {
  const __m512i sign = _mm512_srai_epi32(z, 31), size = _mm512_abs_epi32(z);
  const __m512i low = _mm512_srl_epi64(_mm512_add_epi64(_mm512_mul_epu32(size, even), as.half), as.shift);
  const __m512i high = _mm512_srl_epi64(_mm512_add_epi64(_mm512_mul_epu32(_mm512_srli_epi64(size, 32), odd), as.half), as.shift);
  const __m512i result = _mm512_mask_blend_epi32(0xaaaa, low, _mm512_slli_epi64(high, 32));
  return _mm512_sub_epi32(_mm512_xor_si512(result, sign), sign);
}

inline __m512i times(__m512i z, const WideMultiplier& factor) { return times(z, factor.mantissa, factor.mantissa, factor); }

/// As many as fill vectors, from the beginning; returns how many, and the largest magnitude in *largest.
template <bool kRatios, bool kScaled, bool kBias, bool kRelu>
int64_t finish_wide(int32_t* z, int64_t count, const uint32_t* ratios, Multiplier of_z, const int32_t* bias, Multiplier of_bias, int32_t* largest) {
  const WideMultiplier by_ratio({0, 31, of_z.half ? uint64_t{1} << 30 : 0}), scaled(of_z), bias_scaled(of_bias);
  __m512i most = _mm512_setzero_si512();
  int64_t i = 0;
  for (; i + kWide <= count; i += kWide) {
    __m512i sum = _mm512_loadu_si512(z + i);
    if constexpr (kRatios) {
      const __m512i ratio = _mm512_loadu_si512(ratios + i);
      sum = times(sum, ratio, _mm512_srli_epi64(ratio, 32), by_ratio);
    }
    if constexpr (kScaled) sum = times(sum, scaled);
    if constexpr (kBias) sum = _mm512_add_epi32(sum, times(_mm512_loadu_si512(bias + i), bias_scaled));
    if constexpr (kRelu) sum = _mm512_max_epi32(sum, _mm512_setzero_si512());
    _mm512_storeu_si512(z + i, sum);
    most = _mm512_max_epi32(most, _mm512_abs_epi32(sum));
  }
  *largest = _mm512_reduce_max_epi32(most);
  return i;
}

int64_t narrow_wide(const int32_t* z, Multiplier factor, int8_t* out, int64_t count, int32_t* sum) {
  const WideMultiplier scaled(factor);
  __m512i sums = _mm512_setzero_si512();
  int64_t i = 0;
  for (; i + kWide <= count; i += kWide) {
    const __m512i numbers = times(_mm512_loadu_si512(z + i), scaled);
    sums = _mm512_add_epi32(sums, numbers);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi32_epi8(numbers));
  }
  *sum = _mm512_reduce_add_epi32(sums);
  return i;
}

#endif

template <bool kRatios, bool kScaled, bool kBias, bool kRelu, typename Sum>
Sum finish_as(Sum* z, int64_t count, const uint32_t* ratios, Multiplier of_z, const int32_t* bias, Multiplier of_bias) {
  const uint64_t half = of_z.half ? uint64_t{1} << 30 : 0;
  Sum largest = 0;
  int64_t i = 0;
#if defined(__AVX512BW__)
  if constexpr (sizeof(Sum) == 4) i = finish_wide<kRatios, kScaled, kBias, kRelu>(z, count, ratios, of_z, bias, of_bias, &largest);
#endif
  for (; i < count; ++i) {
    Sum sum = z[i];
    if constexpr (kRatios) sum = times(sum, ratios[i], 31, half);
    if constexpr (kScaled) sum = times(sum, of_z);
    if constexpr (kBias) sum += times(static_cast<Sum>(bias[i]), of_bias);
    if constexpr (kRelu) sum = sum < 0 ? 0 : sum;
    z[i] = sum;
    const auto size = static_cast<Sum>(magnitude(sum));
    largest = size > largest ? size : largest;
  }
  return largest;
}

template <bool kRatios, bool kScaled, typename Sum>
Sum finish_with(Sum* z, int64_t count, const uint32_t* ratios, Multiplier of_z, const int32_t* bias, Multiplier of_bias, bool relu) {
  if (bias && relu) return finish_as<kRatios, kScaled, true, true>(z, count, ratios, of_z, bias, of_bias);
  if (bias) return finish_as<kRatios, kScaled, true, false>(z, count, ratios, of_z, bias, of_bias);
  if (relu) return finish_as<kRatios, kScaled, false, true>(z, count, ratios, of_z, bias, of_bias);
  return finish_as<kRatios, kScaled, false, false>(z, count, ratios, of_z, bias, of_bias);
}

template <typename Sum>
Sum finish(Sum* z, int64_t count, const uint32_t* ratios, Multiplier of_z, const int32_t* bias, Multiplier of_bias, bool relu) {
  if (of_z.is_one()) {
    return ratios ? finish_with<true, false>(z, count, ratios, of_z, bias, of_bias, relu) : finish_with<false, false>(z, count, ratios, of_z, bias, of_bias, relu);
  }
  return ratios ? finish_with<true, true>(z, count, ratios, of_z, bias, of_bias, relu) : finish_with<false, true>(z, count, ratios, of_z, bias, of_bias, relu);
}

template <typename Number>
SumOf<Number> add(SumOf<Number>* z, Multiplier of_z, const Number* x, Multiplier of_x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) z[i] = times(z[i], of_z) + times(static_cast<SumOf<Number>>(x[i]), of_x);
  return largest_of(z, count);
}

template <typename Sum>
Sum add_constant(Sum* z, Sum constant, bool relu, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const Sum sum = z[i] + constant;
    z[i] = relu && sum < 0 ? 0 : sum;
  }
  return largest_of(z, count);
}

template <typename Number>
SumOf<Number> narrow(const SumOf<Number>* z, Multiplier factor, Number* out, int64_t count) {
  SumOf<Number> sum = 0;
  if (factor.is_one()) {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = static_cast<Number>(z[i]);
      sum += z[i];
    }
    return sum;
  }
  int64_t i = 0;
#if defined(__AVX512BW__)
  if constexpr (sizeof(Number) == 1) i = narrow_wide(z, factor, out, count, &sum);
#endif
  for (; i < count; ++i) {
    const SumOf<Number> number = times(z[i], factor);
    assert(number == static_cast<Number>(number));
    out[i] = static_cast<Number>(number);
    sum += number;
  }
  return sum;
}

template <typename Number>
SumOf<Number> product(const Number* x, const Number* y, SumOf<Number>* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<int32_t>(x[i]) * static_cast<int32_t>(y[i]);
  return largest_of(out, count);
}

template <typename Number>
SumOf<Number> centre(const Number* x, int64_t count, SumOf<Number>* out, SumOf<Number>* deviation) {
  using Sum = SumOf<Number>;
  Sum sum = 0, magnitudes = 0;
  for (int64_t i = 0; i < count; ++i) sum += x[i];
  for (int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<Sum>(count) * x[i] - sum;
    magnitudes += static_cast<Sum>(magnitude(out[i]));
  }
  *deviation = magnitudes;
  return largest_of(out, count);
}

template <typename Number>
void dots(const Number* q, const Number* const* keys, int64_t count, int64_t offset, int64_t dim, SumOf<Number>* z) {
  for (int64_t t = 0; t < count; ++t) {
    const Number* key = keys[t] + offset;
    SumOf<Number> sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += static_cast<int32_t>(q[d]) * static_cast<int32_t>(key[d]);
    z[t] = sum;
  }
}

// Extensions of both compilers, for a loop whose sums must stay in registers.
#if defined(__AVX2__)
constexpr int64_t kLanes = 16;
#else
constexpr int64_t kLanes = 8;
#endif
using Bytes = int8_t __attribute__((vector_size(kLanes)));
using Halves = int16_t __attribute__((vector_size(2 * kLanes)));
using Words = int32_t __attribute__((vector_size(4 * kLanes)));

inline Halves widened(const int8_t* x) {
  Bytes bytes;
  std::memcpy(&bytes, x, sizeof bytes);
  return __builtin_convertvector(bytes, Halves);
}

/// The sums of kVectors times kLanes columns.
template <int kVectors>
void weighted_columns(const int8_t* weights, const int8_t* const* values, int64_t count, int64_t offset, int32_t* out) {
  Words sums[kVectors] = {};
  int64_t t = 0;
  // Two products of 7 bits each fit into 16.
  for (; t + 2 <= count; t += 2) {
    const auto first = static_cast<int16_t>(weights[t]), second = static_cast<int16_t>(weights[t + 1]);
    const int8_t *one = values[t] + offset, *other = values[t + 1] + offset;
    for (int v = 0; v < kVectors; ++v) {
      sums[v] += __builtin_convertvector(first * widened(one + v * kLanes) + second * widened(other + v * kLanes), Words);
    }
  }
  if (t < count) {
    const auto last = static_cast<int16_t>(weights[t]);
    for (int v = 0; v < kVectors; ++v) sums[v] += __builtin_convertvector(last * widened(values[t] + offset + v * kLanes), Words);
  }
  for (int v = 0; v < kVectors; ++v) std::memcpy(out + v * kLanes, &sums[v], sizeof(Words));
}

template <typename Number>
void weighted_sum(const Number* weights, const Number* const* values, int64_t count, int64_t offset, int64_t dim, SumOf<Number>* out) {
  assert(sizeof(Number) > 1 || count <= kMostInt8Keys);
  int64_t d = 0;
  if constexpr (sizeof(Number) == 1) {
    for (; d + 4 * kLanes <= dim; d += 4 * kLanes) weighted_columns<4>(weights, values, count, offset + d, out + d);
    for (; d + kLanes <= dim; d += kLanes) weighted_columns<1>(weights, values, count, offset + d, out + d);
  }
  for (int64_t i = d; i < dim; ++i) out[i] = 0;
  for (int64_t t = 0; t < count && d < dim; ++t) {
    const Number* value = values[t] + offset;
    for (int64_t i = d; i < dim; ++i) out[i] += static_cast<int32_t>(weights[t]) * static_cast<int32_t>(value[i]);
  }
}

template <typename Number>
const IntegerKernels<Number> kTable{SEQMILL_TEXT(SEQMILL_ISA), multiply<Number>, finish<SumOf<Number>>, largest_of<SumOf<Number>>, add<Number>, add_constant<SumOf<Number>>,
                                    narrow<Number>, product<Number>, centre<Number>, dots<Number>, weighted_sum<Number>};

}  // namespace

const IntegerKernels<int8_t>& SEQMILL_JOIN(integer_kernels_, SEQMILL_ISA)() { return kTable<int8_t>; }
const IntegerKernels<int16_t>& SEQMILL_JOIN(wide_integer_kernels_, SEQMILL_ISA)() { return kTable<int16_t>; }

}  // namespace seqmill::kernel
