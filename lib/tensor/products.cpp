#include "tensor/products.h"

#include <algorithm>

#include "base/threads.h"
#include "kernel/float_kernels.h"
#include "kernel/gemm.h"
#include "tensor/bfloat16.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

constexpr int64_t kGrain = 1 << 15;

template <typename Number>
void multiply(int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b, float beta, float* c) {
  kernel::gemm(a.transposed, b.transposed, m, n, k, numbers<Number>(a.numbers) + a.first_row * a.columns, a.columns,
               numbers<Number>(b.numbers) + b.first_row * b.columns, b.columns, beta, c, n);
}

}  // namespace

at::Tensor as_factor(const at::Tensor& x) { return precision() == Precision::kBFloat16 ? to_bfloat16(x) : x; }

at::Tensor as_factor_like(const at::Tensor& other, const at::Tensor& x) {
  return other.scalar_type() == at::kBFloat16 ? to_bfloat16(x) : x;
}

void product(int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b, float beta, float* c) {
  if (a.numbers.scalar_type() == at::kBFloat16) {
    multiply<kernel::BFloat16>(m, n, k, a, b, beta, c);
  } else {
    multiply<float>(m, n, k, a, b, beta, c);
  }
}

void fill_rows(const at::Tensor& bias, float* out, int64_t rows, int64_t columns) {
  const float* from = bias.data_ptr<float>();
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)), [&](int64_t begin, int64_t end) {
    kernel::float_kernels().fill_rows(from, out + begin * columns, end - begin, columns);
  });
}

void add_column_sums(const float* x, int64_t rows, int64_t columns, float* sums) {
  parallel_for(columns, std::max<int64_t>(64, kGrain / std::max<int64_t>(1, rows)), [&](int64_t begin, int64_t end) {
    kernel::float_kernels().add_column_sums(x + begin, columns, sums + begin, rows, end - begin);
  });
}

at::Tensor gradient_in_place(const at::Tensor& parameter) {
  if (!parameter.defined() || !parameter.requires_grad() || !parameter.is_leaf()) return {};
  const at::Tensor& gradient = parameter.grad();
  return gradient.defined() && is_fast(gradient) ? gradient : at::Tensor();
}

GradientOf::GradientOf(const at::Tensor& place, bool wanted, at::IntArrayRef sizes, const at::TensorOptions& options) {
  if (!wanted) return;
  in_place_ = place.defined();
  if (!in_place_) made_ = at::empty(sizes, options);
  data_ = in_place_ ? place.data_ptr<float>() : made_.data_ptr<float>();
}

void GradientOf::clear() {
  if (made_.defined()) made_.zero_();
}

}  // namespace seqmill::tensor
