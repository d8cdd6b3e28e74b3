#include "infer/matrix.h"

#include <algorithm>

#include "base/error.h"
#include "base/strings.h"
#include "infer/share.h"
#include "kernel/gemm.h"

namespace seqmill::infer {
namespace {

std::string without_weight(const std::string& name) {
  constexpr size_t kEnding = 7;  // of ".weight"
  return name.substr(0, name.size() - kEnding);
}

/// Adds what the adapter of a part makes of it.
void merge_adapter(Weights& weights, const MatrixPart& part, int64_t inputs, MatrixRows& rows) {
  const int64_t rank = part.adapter_rank;
  const Numbers a = weights.take(part.name + ".lora_a.weight", {rank, inputs}), b = weights.take(part.name + ".lora_b.weight", {part.outputs, rank});
  if (!rows.rows.data || !a.data() || !b.data() || !weights.lays_out()) return;
  Buffer<float> merged(part.outputs * inputs);
  kernel::packed_kernels().widen(rows.rows.data, rows.rows.type, part.outputs * inputs, merged.data());
  std::vector<float> scaled(b.data(), b.data() + part.outputs * rank);
  for (float& number : scaled) number *= static_cast<float>(part.adapter_scale);
  kernel::gemm(false, false, part.outputs, inputs, rank, scaled.data(), rank, a.data(), inputs, 1, merged.data(), inputs);
  rows.own = std::move(merged);
  rows.rows = {rows.own.data(), kernel::NumberType::kFloat32, part.outputs};
}

}  // namespace

Matrix::Matrix(Weights& weights, const std::string& name, int64_t outputs, int64_t inputs)
    : Matrix(weights, std::vector<MatrixPart>{{without_weight(name), outputs}}, inputs) {}

Matrix::Matrix(Weights& weights, const std::vector<MatrixPart>& parts, int64_t inputs) : inputs_(inputs) {
  const auto is_int8 = [&](const MatrixPart& part) { return weights.is_int8(part.name + ".weight"); };
  for (const MatrixPart *begin = parts.data(), *last = begin + parts.size(), *end; begin < last; begin = end) {
    end = std::find_if(begin, last, [&](const MatrixPart& part) { return is_int8(part) != is_int8(*begin); });
    is_int8(*begin) ? add_integers(weights, begin, end) : add_real(weights, begin, end);
  }
}

template <typename Packed>
void Matrix::add(Packed packed) {
  const int64_t first = outputs_;
  outputs_ += packed.outputs();
  blocks_.push_back({first, std::move(packed)});
}

void Matrix::add_real(Weights& weights, const MatrixPart* begin, const MatrixPart* end) {
  std::vector<MatrixRows> taken;
  std::vector<kernel::WeightRows> rows;
  bool fit = true;
  for (const MatrixPart* part = begin; part < end; ++part) {
    taken.push_back(weights.take_rows(part->name + ".weight", part->outputs, inputs_));
    if (part->adapter_rank > 0) merge_adapter(weights, *part, inputs_, taken.back());
    rows.push_back(taken.back().rows);
    fit = fit && rows.back().data;
  }
  if (!fit || !weights.lays_out()) return;
  if (weights.rounds_to_bfloat16()) {
    add(kernel::PackedBFloat16Matrix(rows, inputs_));
  } else {
    add(kernel::PackedMatrix(rows, inputs_));
  }
  for (const MatrixPart* part = begin; part < end; ++part) weights.release(part->name + ".weight");
}

void Matrix::add_integers(Weights& weights, const MatrixPart* begin, const MatrixPart* end) {
  std::vector<Int8Numbers> taken;
  std::vector<kernel::Int8WeightRows> rows;
  bool fit = true;
  for (const MatrixPart* part = begin; part < end; ++part) {
    if (part->adapter_rank > 0) fail("{}.weight is of 8-bit integers, which no adapter (lora.rank) goes with", part->name);
    taken.push_back(weights.take_int8(part->name + ".weight", part->outputs, inputs_));
    rows.push_back({taken.back().data, taken.back().scales.data(), part->outputs});
    fit = fit && taken.back().data;
  }
  if (!fit || !weights.lays_out()) return;
  add(kernel::PackedInt8Matrix(rows, inputs_));
  for (const MatrixPart* part = begin; part < end; ++part) weights.release(part->name + ".weight");
}

int64_t Matrix::bytes() const {
  int64_t bytes = 0;
  for (const Block& block : blocks_) bytes += std::visit([](const auto& packed) { return packed.bytes(); }, block.packed);
  return bytes;
}

void Matrix::multiply(const float* x, int64_t rows, float* out, const kernel::Finish& finish, RoundedRows& room, int threads) const {
  const auto over_panels = [&](const auto& packed, auto multiply) {
    if (rows == 0) return;
    const int64_t grain = grain_of(rows * inputs_ * packed.outputs() / std::max<int64_t>(1, packed.panels()));
    share(threads, packed.panels(), grain, [&](int64_t begin, int64_t end) { multiply(kernel::PanelRange{begin, end}); });
  };
  const int64_t row_grain = threads == 1 ? rows : grain_of(4 * inputs_);
  for (const Block& block : blocks_) {
    const kernel::Finish finished = finish.from(block.first);
    float* to = out + block.first;
    if (const auto* real = std::get_if<kernel::PackedMatrix>(&block.packed)) {
      over_panels(*real, [&](kernel::PanelRange range) { real->multiply(x, rows, to, finished, range, outputs_); });
    } else if (const auto* halves = std::get_if<kernel::PackedBFloat16Matrix>(&block.packed)) {
      const int64_t width = kernel::padded_pairs(inputs_);
      uint16_t* rounded = room.halves.room_for(rows * width);
      share(threads, rows, row_grain, [&](int64_t begin, int64_t end) { kernel::round_rows(x + begin * inputs_, end - begin, inputs_, rounded + begin * width); });
      over_panels(*halves, [&](kernel::PanelRange range) { halves->multiply(rounded, rows, to, finished, range, outputs_); });
    } else {
      const auto& integers = std::get<kernel::PackedInt8Matrix>(block.packed);
      const kernel::Int8Rows rounded = room.integers.quantise_shared(x, rows, inputs_, row_grain);
      over_panels(integers, [&](kernel::PanelRange range) { integers.multiply(rounded, to, finished, range, outputs_); });
    }
  }
}

void Matrix::row(int64_t index, float* out) const {
  for (const Block& block : blocks_) {
    std::visit(
        [&](const auto& packed) {
          if (index >= block.first && index < block.first + packed.outputs()) packed.row(index - block.first, out);
        },
        block.packed);
  }
}

}  // namespace seqmill::infer
