#pragma once
// Arithmetic of integers with scales, on raw pointers: no floating-point number comes in, goes out or is made. Numbers are of 8 bits, or of 16 where
// more precision is asked for; sums are of four times as many. All instruction sets give the same integers.

#include <cstdint>

#include "kernel/scale.h"

namespace seqmill::kernel {

template <typename Number>
struct IntegerSum;
template <>
struct IntegerSum<int8_t> {
  using Type = int32_t;
};
template <>
struct IntegerSum<int16_t> {
  using Type = int64_t;
};
template <typename Number>
using SumOf = typename IntegerSum<Number>::Type;

/// More keys than this might overflow 32 bits: 127 * 127 * keys < 2^31.
constexpr int64_t kMostInt8Keys = 133144;

template <typename Number>
struct IntegerKernels {
  using Sum = SumOf<Number>;
  const char* instruction_set;

  /// out [rows, outputs] = x weight^T for weights [outputs, inputs] as they are, rows of x being `stride` apart. For 8 bits there are packed weights.
  void (*multiply)(const Number* x, int64_t rows, int64_t stride, const Number* weight, int64_t outputs, int64_t inputs, Sum* out);
  /// What becomes of sums: z[i] * ratios[i] / 2^31 (no ratios: z[i]), times of_z, plus bias[i] times of_bias (no bias: nothing), each product rounded
  /// (those with ratios as of_z says); then max(0, .) with `relu`. Returns the largest magnitude.
  Sum (*finish)(Sum* z, int64_t count, const uint32_t* ratios, Multiplier of_z, const int32_t* bias, Multiplier of_bias, bool relu);
  Sum (*largest)(const Sum* z, int64_t count);  ///< magnitude
  /// z = z * of_z + x * of_x, each rounded. Returns the largest magnitude.
  Sum (*add)(Sum* z, Multiplier of_z, const Number* x, Multiplier of_x, int64_t count);
  /// z = z + constant, then max(0, .) with `relu`. Returns the largest magnitude.
  Sum (*add_constant)(Sum* z, Sum constant, bool relu, int64_t count);
  /// out = z * factor, rounded, which must fit. Returns the sum of out.
  Sum (*narrow)(const Sum* z, Multiplier factor, Number* out, int64_t count);
  /// out = x * y. Returns the largest magnitude.
  Sum (*product)(const Number* x, const Number* y, Sum* out, int64_t count);
  /// out = count * x - the sum of x. Returns the largest magnitude; *deviation is the sum of magnitudes.
  Sum (*centre)(const Number* x, int64_t count, Sum* out, Sum* deviation);
  /// z[t] = the product of q and keys[t] + offset, both of `dim` numbers.
  void (*dots)(const Number* q, const Number* const* keys, int64_t count, int64_t offset, int64_t dim, Sum* z);
  /// out [dim] = the sum over t of weights[t] times values[t] + offset; of at most kMostInt8Keys of 8 bits.
  void (*weighted_sum)(const Number* weights, const Number* const* values, int64_t count, int64_t offset, int64_t dim, Sum* out);
};

template <typename Number>
const IntegerKernels<Number>& integer_kernels();

}  // namespace seqmill::kernel
