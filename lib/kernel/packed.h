#pragma once
// Products with weights that are laid out once for this CPU: what decoding spends its time on. Every row of a result is computed alike, bit for bit,
// however many other rows there are.

#include <cstdint>

#include "base/buffer.h"
#include "kernel/float_kernels.h"

namespace seqmill::kernel {

/// What becomes of the rows of a product before they are written.
struct Finish {
  const float* bias = nullptr;      ///< [outputs], added
  bool relu = false;                ///< then max(0, .)
  const float* residual = nullptr;  ///< [rows, outputs], added last
};

/// A weight matrix [outputs, inputs] in panels of some outputs each, padded with zeros.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// `weight` is row-major and not needed afterwards.
  PackedMatrix(const float* weight, int64_t outputs, int64_t inputs);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t bytes() const { return panels_.size() * static_cast<int64_t>(sizeof(float)); }

  /// out [rows, outputs] = finish(x weight^T), x being [rows, inputs]. In the calling thread.
  void multiply(const float* x, int64_t rows, float* out, const Finish& finish = {}) const;
  /// out [inputs] = weight[index]: for a weight that is a table of embeddings too.
  void row(int64_t index, float* out) const;

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  Buffer<float> panels_;
};

/// One instruction set's way to do it.
struct PackedKernels {
  const char* instruction_set;
  int64_t columns;  ///< of a panel
  /// panels [ceil(outputs / columns), inputs, columns]
  void (*pack)(const float* weight, int64_t outputs, int64_t inputs, float* panels);
  void (*multiply)(const float* x, int64_t rows, const float* panels, int64_t outputs, int64_t inputs, const Finish& finish, float* out);
  /// Attention (Vaswani et al., 2017, eq. 1) of one query to keys that lie anywhere: all heads of it, q and out being [heads * dim]. keys[t] points to
  /// a key [heads * dim] with its value behind it. `weights` is room for [heads, count]. `polynomials` [heads] makes weights of scores; null: softmax.
  void (*attend)(const float* q, const float* const* keys, int64_t count, int64_t heads, int64_t dim, float scale, const Polynomial* polynomials,
                 float* weights, float* out);
};

const PackedKernels& packed_kernels();

}  // namespace seqmill::kernel
