#pragma once
// A weight matrix of a model in the form its file has it in: float32, or 8-bit integers with a scale for each output.

#include <cstdint>
#include <string>
#include <variant>

#include "infer/weights.h"
#include "kernel/packed.h"
#include "kernel/packed_int8.h"

namespace seqmill::infer {

class Matrix {
 public:
  /// The tensor `name` [outputs, inputs] and, if its numbers are integers, `name`.scale [outputs].
  Matrix(Weights& weights, const std::string& name, int64_t outputs, int64_t inputs);

  int64_t outputs() const;
  int64_t inputs() const;
  /// out [rows, outputs] = finish(x weight^T). Integers multiply the rows of x rounded to 8 bits, each by its own largest number; `room` is for those.
  void multiply(const float* x, int64_t rows, float* out, const kernel::Finish& finish, kernel::Int8Room& room) const;
  /// out [inputs] = weight[index].
  void row(int64_t index, float* out) const;

 private:
  std::variant<kernel::PackedMatrix, kernel::PackedInt8Matrix> packed_;
};

}  // namespace seqmill::infer
