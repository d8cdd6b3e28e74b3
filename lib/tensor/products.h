#pragma once
// What the fast paths of training share: products with factors in the precision of training, gradients added where they belong.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "kernel/float_kernels.h"

namespace seqmill::tensor {

/// x (float32, contiguous) as a factor of products: itself, or rounded to bfloat16 when that is the precision of training.
at::Tensor as_factor(const at::Tensor& x);

/// A contiguous matrix of factors, or rows of it.
struct Matrix {
  const at::Tensor& numbers;
  int64_t columns;
  int64_t first_row = 0;
  bool transposed = false;
};

/// c [m, n] = a b + beta c, where a is [m, k] and b is [k, n] after transposing. Both in one type.
void product(int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b, float beta, float* c);

/// out [rows, columns] = residual + (out + bias) * mask; `bias` and `residual` [rows, columns] may be undefined.
void apply_epilogue(float* out, int64_t rows, int64_t columns, const at::Tensor& bias, const at::Tensor& residual, kernel::DropoutMask mask);

/// sums [columns] += the sums over the rows of x, a matrix of factors. The order of a sum does not depend on the number of threads.
void add_column_sums(const at::Tensor& x, float* sums);
void add_column_sums(const float* x, int64_t rows, int64_t columns, float* sums);

/// Whole rows that a thread takes at least, and columns where it goes down all rows.
int64_t row_grain(int64_t columns);
int64_t column_grain(int64_t rows);

/// Where the backward pass may add the gradient of a parameter itself, which spares a copy of it: the gradient of a leaf that has one
/// (nn::Parameters::flatten makes them). Undefined for any other tensor. For such parameters torch::autograd::grad() finds nothing, and hooks on
/// the tensor see nothing: look at grad() after backward().
at::Tensor gradient_in_place(const at::Tensor& parameter);

/// The gradient of one input, which is either added in place or made anew and returned to autograd.
class GradientOf {
 public:
  /// `place`: what gradient_in_place gave. Without one, `wanted` says whether to make one of these sizes.
  GradientOf(const at::Tensor& place, bool wanted, at::IntArrayRef sizes, const at::TensorOptions& options);
  bool wanted() const { return data_ != nullptr; }
  float* data() const { return data_; }
  float beta() const { return in_place_ ? 1.0f : 0.0f; }  ///< of the product that writes it
  const at::Tensor& result() const { return made_; }      ///< for autograd; undefined when it was added in place
  void clear();                                           ///< zeros, unless it is added in place: for gradients that are added up

 private:
  at::Tensor made_;
  float* data_ = nullptr;
  bool in_place_ = false;
};

/// The gradient of what apply_epilogue was given, from that of its result: upper * mask as a factor of products with `other`. What `bias` gets is
/// added to it.
at::Tensor epilogue_backward(const at::Tensor& upper, kernel::DropoutMask mask, const at::Tensor& other, GradientOf& bias);

/// Rows of a slice when `rows` are worked on in slices of at most `most` rows, all of about the same size and a multiple of `multiple`.
int64_t even_slices(int64_t rows, int64_t most, int64_t multiple = 1);

}  // namespace seqmill::tensor
