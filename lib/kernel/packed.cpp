#include "kernel/packed.h"

#include <algorithm>

#include "kernel/tables.h"
#include "kernel/weight_rows.h"

namespace seqmill::kernel {

const PackedKernels& packed_kernels() {
  static const PackedKernels& chosen = *usable_packed_kernels().back();
  return chosen;
}

PackedMatrix::PackedMatrix(const float* weight, int64_t outputs, int64_t inputs)
    : PackedMatrix(std::vector<WeightRows>{{weight, NumberType::kFloat32, outputs}}, inputs) {}

PackedMatrix::PackedMatrix(const std::vector<WeightRows>& parts, int64_t inputs) : outputs_(rows_of(parts)), inputs_(inputs) {
  const PackedKernels& kernels = packed_kernels();
  const int64_t columns = kernels.columns;
  panels_ = Buffer<float>(panels() * columns * inputs);
  share_panels(outputs_, columns, [&] {
    return [&, widened = Buffer<float>(), rows = std::vector<const void*>()](int64_t panel, int64_t count) mutable {
      rows.clear();
      for_each_row(parts, panel * columns, count, [&](const WeightRows& part, int64_t row) {
        const void* from = static_cast<const char*>(part.data) + row * inputs * size_of(part.type);
        if (part.type != NumberType::kFloat32) {
          float* to = widened.room_for(columns * inputs) + static_cast<int64_t>(rows.size()) * inputs;
          kernels.widen(from, part.type, inputs, to);
          from = to;
        }
        rows.push_back(from);
      });
      kernels.interleave(rows.data(), count, inputs, columns, panels_.data() + panel * columns * inputs);
    };
  });
}

int64_t PackedMatrix::panels() const { return (outputs_ + packed_kernels().columns - 1) / packed_kernels().columns; }

void PackedMatrix::multiply(const float* x, int64_t rows, float* out, const Finish& finish, PanelRange range, int64_t stride) const {
  const int64_t columns = packed_kernels().columns, first = range.begin * columns, end = std::min(outputs_, range.end * columns);
  packed_kernels().multiply(x, rows, panels_.data() + first * inputs_, end - first, inputs_, finish.from(first), out + first, stride);
}

void PackedMatrix::row(int64_t index, float* out) const {
  const int64_t columns = packed_kernels().columns;
  const float* panel = panels_.data() + index / columns * columns * inputs_ + index % columns;
  for (int64_t k = 0; k < inputs_; ++k) out[k] = panel[k * columns];
}

}  // namespace seqmill::kernel
