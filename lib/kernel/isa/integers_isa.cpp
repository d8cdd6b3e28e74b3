// Compiled once per instruction set, with SEQMILL_ISA naming it. No floating-point arithmetic here: a test looks for its instructions. Loops are left to the
// compilers, which may reorder sums of integers.

#include "kernel/integers.h"

#define SEQMILL_JOIN_(a, b) a##b
#define SEQMILL_JOIN(a, b) SEQMILL_JOIN_(a, b)
#define SEQMILL_TEXT_(a) #a
#define SEQMILL_TEXT(a) SEQMILL_TEXT_(a)

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

template <typename Sum>
Sum finish(Sum* z, int64_t count, const uint32_t* ratios, Multiplier of_z, const int32_t* bias, Multiplier of_bias, bool relu) {
  if (ratios) {
    const uint64_t half = of_z.half ? uint64_t{1} << 30 : 0;
    for (int64_t i = 0; i < count; ++i) z[i] = times(z[i], ratios[i], 31, half);
  }
  if (!of_z.is_one()) {
    for (int64_t i = 0; i < count; ++i) z[i] = times(z[i], of_z);
  }
  if (bias) {
    for (int64_t i = 0; i < count; ++i) z[i] += times(static_cast<Sum>(bias[i]), of_bias);
  }
  if (relu) {
    for (int64_t i = 0; i < count; ++i) z[i] = z[i] < 0 ? 0 : z[i];
  }
  return largest_of(z, count);
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
  for (int64_t i = 0; i < count; ++i) {
    const SumOf<Number> number = times(z[i], factor);
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

template <typename Number>
void weighted_sum(const Number* weights, const Number* const* values, int64_t count, int64_t offset, int64_t dim, SumOf<Number>* out) {
  constexpr int64_t kBlock = 32;  // of sums that stay in registers
  for (int64_t begin = 0; begin < dim; begin += kBlock) {
    const int64_t size = dim - begin < kBlock ? dim - begin : kBlock;
    SumOf<Number> sums[kBlock] = {};
    for (int64_t t = 0; t < count; ++t) {
      const Number* value = values[t] + offset + begin;
      const int32_t weight = weights[t];
      if (size == kBlock) {
        for (int64_t d = 0; d < kBlock; ++d) sums[d] += weight * static_cast<int32_t>(value[d]);
      } else {
        for (int64_t d = 0; d < size; ++d) sums[d] += weight * static_cast<int32_t>(value[d]);
      }
    }
    for (int64_t d = 0; d < size; ++d) out[begin + d] = sums[d];
  }
}

template <typename Number>
const IntegerKernels<Number> kTable{SEQMILL_TEXT(SEQMILL_ISA), multiply<Number>, finish<SumOf<Number>>, add<Number>, add_constant<SumOf<Number>>,
                                    narrow<Number>, product<Number>, centre<Number>, dots<Number>, weighted_sum<Number>};

}  // namespace

const IntegerKernels<int8_t>& SEQMILL_JOIN(integer_kernels_, SEQMILL_ISA)() { return kTable<int8_t>; }
const IntegerKernels<int16_t>& SEQMILL_JOIN(wide_integer_kernels_, SEQMILL_ISA)() { return kTable<int16_t>; }

}  // namespace seqmill::kernel
