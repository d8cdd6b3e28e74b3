#pragma once
// Products of 8-bit integers with weights that are laid out once, summed exactly in 32 bits: every instruction set gives the same integers, and every
// row is computed alike, however many others there are.

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "kernel/packed.h"

namespace seqmill::kernel {

/// Rows of integers in [-127, 127]; row r stands for the real numbers x / scale[r].
struct Int8Rows {
  const int8_t* numbers;   ///< [rows, padded inputs], see padded_inputs(); zeros behind the inputs
  const float* scales;     ///< [rows]
  const int32_t* sums;     ///< [rows], of the numbers
  int64_t rows;
};

/// Rows are as long as a multiple of four.
constexpr int64_t padded_inputs(int64_t inputs) { return (inputs + 3) / 4 * 4; }

/// More inputs than this might overflow 32 bits: 255 * 127 * inputs < 2^31.
constexpr int64_t kMostInt8Inputs = 65536;

/// Rows of integers in [-127, 127], whose row o stands for the real numbers data / scales[o].
struct Int8WeightRows {
  const int8_t* data;
  const float* scales;
  int64_t rows;
};

/// A weight matrix [outputs, inputs] of such rows.
class PackedInt8Matrix {
 public:
  PackedInt8Matrix() = default;
  /// Throws Error for more than kMostInt8Inputs inputs and for a number of -128.
  PackedInt8Matrix(const int8_t* weight, const float* scales, int64_t outputs, int64_t inputs);
  /// Of parts, one below the other. With threads().
  PackedInt8Matrix(const std::vector<Int8WeightRows>& parts, int64_t inputs);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t panels() const;
  int64_t bytes() const { return panels_.size() + static_cast<int64_t>(scales_.size() * sizeof(float)); }

  /// out [rows, outputs] = finish(the real numbers of x weight^T). In the calling thread.
  void multiply(const Int8Rows& x, float* out, const Finish& finish = {}) const { multiply(x, out, finish, {0, panels()}, outputs_); }
  /// The outputs of some panels alone. Rows of out and of the residual are `stride` apart.
  void multiply(const Int8Rows& x, float* out, const Finish& finish, PanelRange range, int64_t stride) const;
  /// The same before it is made real: integers [rows, outputs].
  void multiply(const Int8Rows& x, int32_t* out) const;
  /// out [inputs] = the real numbers of weight[index].
  void row(int64_t index, float* out) const;
  /// The same as integers.
  void row(int64_t index, int8_t* out) const;

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  Buffer<uint8_t> panels_;
  std::vector<float> scales_, inverses_;  ///< of the rows of the weight
};

/// Room for rows of integers, which keeps its size.
class Int8Room {
 public:
  /// x [rows, inputs] rounded to integers, the largest of each row to `limit` (127: 8 bits). A row of zeros has scale 1, one that is not finite has scale
  /// NaN, and so have its products.
  Int8Rows quantise(const float* x, int64_t rows, int64_t inputs, int32_t limit = 127) { return quantise_shared(x, rows, inputs, rows, limit); }
  /// The same with threads(), each for `grain` rows or more.
  Int8Rows quantise_shared(const float* x, int64_t rows, int64_t inputs, int64_t grain, int32_t limit = 127);

 private:
  Buffer<int8_t> numbers_;
  Buffer<float> scales_;
  Buffer<int32_t> sums_;
};

/// One instruction set's way to do it.
struct Int8Kernels {
  static constexpr int64_t kColumns = 32;  ///< of a panel; four inputs of a column lie together
  const char* instruction_set;
  /// panels [ceil(outputs / 32), padded inputs / 4, 32, 4] hold weight + 128; 128 where there is none.
  void (*multiply)(const Int8Rows& x, const uint8_t* panels, int64_t outputs, int64_t inputs, int32_t* out);
  /// The same, made real: times inverses[o] / scales[row], then finished. Rows of out and of the residual are `stride` apart.
  void (*multiply_real)(const Int8Rows& x, const uint8_t* panels, int64_t outputs, int64_t inputs, const float* inverses, const Finish& finish, float* out,
                        int64_t stride);
  /// One row, half away from zero: returns its scale.
  float (*quantise)(const float* x, int64_t inputs, int32_t limit, int8_t* numbers, int32_t* sum);
};

const Int8Kernels& int8_kernels();

}  // namespace seqmill::kernel
