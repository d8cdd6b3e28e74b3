#include "infer/matrix.h"

namespace seqmill::infer {

Matrix::Matrix(Weights& weights, const std::string& name, int64_t outputs, int64_t inputs) {
  if (weights.is_int8(name)) {
    const Int8Numbers numbers = weights.take_int8(name, outputs, inputs);
    if (numbers.data) packed_ = kernel::PackedInt8Matrix(numbers.data, numbers.scales.data(), outputs, inputs);
    return;
  }
  const Numbers numbers = weights.take(name, {outputs, inputs});
  if (!numbers.data()) return;
  if (weights.rounds_to_bfloat16()) {
    packed_ = kernel::PackedBFloat16Matrix(numbers.data(), outputs, inputs);
  } else {
    packed_ = kernel::PackedMatrix(numbers.data(), outputs, inputs);
  }
}

int64_t Matrix::outputs() const {
  return std::visit([](const auto& packed) { return packed.outputs(); }, packed_);
}

int64_t Matrix::inputs() const {
  return std::visit([](const auto& packed) { return packed.inputs(); }, packed_);
}

void Matrix::multiply(const float* x, int64_t rows, float* out, const kernel::Finish& finish, RoundedRows& room) const {
  if (const auto* real = std::get_if<kernel::PackedMatrix>(&packed_)) return real->multiply(x, rows, out, finish);
  if (const auto* rounded = std::get_if<kernel::PackedBFloat16Matrix>(&packed_)) return rounded->multiply(x, rows, out, finish, room.halves);
  const auto& integers = std::get<kernel::PackedInt8Matrix>(packed_);
  integers.multiply(room.integers.quantise(x, rows, integers.inputs()), out, finish);
}

void Matrix::row(int64_t index, float* out) const {
  std::visit([&](const auto& packed) { packed.row(index, out); }, packed_);
}

}  // namespace seqmill::infer
