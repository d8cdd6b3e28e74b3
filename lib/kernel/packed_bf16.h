#pragma once
// Products of bfloat16 factors, summed in float32, with weights that are laid out once: twice as fast as float32 where has_bfloat16_products(). Every row is
// computed alike, however many others there are.

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "kernel/packed.h"

namespace seqmill::kernel {

/// AVX512-BF16.
bool has_bfloat16_products();

class PackedBFloat16Matrix {
 public:
  PackedBFloat16Matrix() = default;
  /// `weight` [outputs, inputs] is rounded. Throws Error on a CPU without such products.
  PackedBFloat16Matrix(const float* weight, int64_t outputs, int64_t inputs);
  /// Of parts, one below the other; those of bfloat16 are taken as they are. With threads().
  PackedBFloat16Matrix(const std::vector<WeightRows>& parts, int64_t inputs);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t panels() const;
  int64_t bytes() const { return panels_.size() * static_cast<int64_t>(sizeof(uint16_t)); }

  /// out [rows, outputs] = finish(x weight^T); x is rounded into `room`. In the calling thread.
  void multiply(const float* x, int64_t rows, float* out, const Finish& finish, Buffer<uint16_t>& room) const;
  /// The outputs of some panels alone, from rows [rows, padded_pairs(inputs)] that are rounded already. Rows of out and of the residual are `stride` apart.
  void multiply(const uint16_t* rounded, int64_t rows, float* out, const Finish& finish, PanelRange range, int64_t stride) const;
  /// out [inputs] = weight[index], as it was rounded.
  void row(int64_t index, float* out) const;

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  Buffer<uint16_t> panels_;  ///< [ceil(outputs / 32), ceil(inputs / 2), 32, 2]
};

/// Rounded rows are as long as an even number.
constexpr int64_t padded_pairs(int64_t inputs) { return (inputs + 1) / 2 * 2; }
/// x [rows, inputs] rounded, with a zero behind rows of an odd number.
void round_rows(const float* x, int64_t rows, int64_t inputs, uint16_t* out);

}  // namespace seqmill::kernel
