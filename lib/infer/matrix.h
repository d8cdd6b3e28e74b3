#pragma once
// A weight matrix of a model: in float32, rounded to bfloat16, or of 8-bit integers with a scale for each output, as its file has it.

#include <cstdint>
#include <string>
#include <variant>

#include "infer/weights.h"
#include "kernel/packed.h"
#include "kernel/packed_bf16.h"
#include "kernel/packed_int8.h"

namespace seqmill::infer {

/// Room for the rows that a matrix multiplies, in its type.
struct RoundedRows {
  kernel::Int8Room integers;
  Buffer<uint16_t> halves;
};

class Matrix {
 public:
  /// The tensor `name` [outputs, inputs] and, if its numbers are integers, `name`.scale [outputs]. Others are rounded if the weights say so. Nothing, if
  /// they do not fit: Weights::check() is to follow.
  Matrix(Weights& weights, const std::string& name, int64_t outputs, int64_t inputs);

  int64_t outputs() const;
  int64_t inputs() const;
  /// out [rows, outputs] = finish(x weight^T). Integers multiply the rows of x rounded to 8 bits, each by its own largest number.
  void multiply(const float* x, int64_t rows, float* out, const kernel::Finish& finish, RoundedRows& room) const;
  /// out [inputs] = weight[index].
  void row(int64_t index, float* out) const;

 private:
  std::variant<kernel::PackedMatrix, kernel::PackedBFloat16Matrix, kernel::PackedInt8Matrix> packed_;
};

}  // namespace seqmill::infer
