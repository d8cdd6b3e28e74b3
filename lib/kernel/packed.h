#pragma once
// Products with weights that are laid out once for this CPU: what decoding spends its time on. Every row of a result is computed alike, bit for bit,
// however many other rows there are, and whatever part of the outputs is computed with it.

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "kernel/float_kernels.h"

namespace seqmill::kernel {

/// What becomes of the rows of a product before they are written.
struct Finish {
  const float* bias = nullptr;      ///< [outputs], added
  bool relu = false;                ///< then max(0, .)
  const float* residual = nullptr;  ///< [rows, outputs], added last

  /// That of the outputs from `first` on.
  Finish from(int64_t first) const { return {bias ? bias + first : nullptr, relu, residual ? residual + first : nullptr}; }
};

/// Numbers as they lie in files.
enum class NumberType { kFloat32, kFloat16, kBFloat16 };

/// Rows of a weight matrix as they lie in a file, one after another and aligned to nothing.
struct WeightRows {
  const void* data;
  NumberType type;
  int64_t rows;
};

/// Panels begin .. end - 1 of a matrix: the part of a product that one of several threads computes.
struct PanelRange {
  int64_t begin, end;
};

/// A weight matrix [outputs, inputs] in panels of some outputs each, padded with zeros.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// `weight` is row-major and not needed afterwards.
  PackedMatrix(const float* weight, int64_t outputs, int64_t inputs);
  /// Of parts, one below the other. With threads().
  PackedMatrix(const std::vector<WeightRows>& parts, int64_t inputs);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t panels() const;
  int64_t bytes() const { return panels_.size() * static_cast<int64_t>(sizeof(float)); }

  /// out [rows, outputs] = finish(x weight^T), x being [rows, inputs]. In the calling thread.
  void multiply(const float* x, int64_t rows, float* out, const Finish& finish = {}) const { multiply(x, rows, out, finish, {0, panels()}, outputs_); }
  /// The outputs of some panels alone. Rows of out and of the residual are `stride` apart.
  void multiply(const float* x, int64_t rows, float* out, const Finish& finish, PanelRange range, int64_t stride) const;
  /// out [inputs] = weight[index]: for a weight that is a table of embeddings too.
  void row(int64_t index, float* out) const;

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  Buffer<float> panels_;
};

/// Keys of some tokens, each with its value, that lie anywhere.
template <typename Number>
struct ScatteredKeys {
  const Number* const* tokens;  ///< [count]
  int64_t count;
  int64_t key, value;           ///< where keys and values of the first head lie behind tokens[t]; those of other heads follow
};

/// One instruction set's way to do it.
struct PackedKernels {
  const char* instruction_set;
  int64_t columns;  ///< of a panel
  /// panel [words, width]: what stands in rows[0 .. count - 1] as columns, and zeros; all in words of 32 bits, aligned to nothing. `width` is a multiple of
  /// `columns`.
  void (*interleave)(const void* const* rows, int64_t count, int64_t words, int64_t width, void* panel);
  /// Numbers, aligned to nothing, as float32.
  void (*widen)(const void* numbers, NumberType type, int64_t count, float* out);
  /// panels [ceil(outputs / columns), inputs, columns]. Rows of out and of the residual are `stride` apart.
  void (*multiply)(const float* x, int64_t rows, const float* panels, int64_t outputs, int64_t inputs, const Finish& finish, float* out, int64_t stride);
  /// Attention (Vaswani et al., 2017, eq. 1) of one query, all heads of it, q and out being [heads * dim]. Each `group` heads, which divide them, share a head of
  /// the keys (Ainslie et al., 2023, "GQA"). `weights` is room for [heads, count]. `polynomials` [heads] makes weights of scores; null: softmax.
  void (*attend)(const float* q, const ScatteredKeys<float>& keys, int64_t heads, int64_t group, int64_t dim, float scale, const Polynomial* polynomials,
                 float* weights, float* out);
  void (*attend_bfloat16)(const float* q, const ScatteredKeys<BFloat16>& keys, int64_t heads, int64_t group, int64_t dim, float scale,
                          const Polynomial* polynomials, float* weights, float* out);
};

const PackedKernels& packed_kernels();

}  // namespace seqmill::kernel
