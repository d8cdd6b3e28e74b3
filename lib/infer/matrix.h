#pragma once
// A weight matrix of a model: in float32, rounded to bfloat16, or of 8-bit integers with a scale for each output, as its file has it.

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

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

/// A tensor [outputs, inputs] that a matrix is made of. With an adapter (LoraOptions) it is merged: what counts is W + scale * B A, of `name`.weight,
/// `name`.lora_b.weight [outputs, rank] and `name`.lora_a.weight [rank, inputs].
struct MatrixPart {
  std::string name;  ///< without ".weight"
  int64_t outputs;
  int64_t adapter_rank = 0;  ///< 0: none
  double adapter_scale = 0;
};

class Matrix {
 public:
  /// The tensor `name` [outputs, inputs] and, if its numbers are integers, `name`.scale [outputs]. Others are rounded if the weights say so. Nothing, if
  /// they do not fit: Weights::check() is to follow.
  Matrix(Weights& weights, const std::string& name, int64_t outputs, int64_t inputs);
  /// Tensors one below the other, for outputs that are computed together. With threads().
  Matrix(Weights& weights, const std::vector<MatrixPart>& parts, int64_t inputs);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t bytes() const;
  /// out [rows, outputs] = finish(x weight^T). Integers multiply the rows of x rounded to 8 bits, each by its own largest number. In the calling thread, or
  /// with threads() for another number of `threads` than 1, which changes no bit.
  void multiply(const float* x, int64_t rows, float* out, const kernel::Finish& finish, RoundedRows& room, int threads = 1) const;
  /// out [inputs] = weight[index].
  void row(int64_t index, float* out) const;

 private:
  /// Outputs of one number type.
  struct Block {
    int64_t first;
    std::variant<kernel::PackedMatrix, kernel::PackedBFloat16Matrix, kernel::PackedInt8Matrix> packed;
  };
  void add_real(Weights& weights, const MatrixPart* begin, const MatrixPart* end);
  void add_integers(Weights& weights, const MatrixPart* begin, const MatrixPart* end);
  template <typename Packed>
  void add(Packed packed);

  int64_t outputs_ = 0, inputs_ = 0;
  std::vector<Block> blocks_;
};

}  // namespace seqmill::infer
