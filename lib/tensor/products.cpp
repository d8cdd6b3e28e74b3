#include "tensor/products.h"

#include <algorithm>

#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"
#include "kernel/gemm.h"
#include "tensor/bfloat16.h"
#include "tensor/dropout.h"
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

int64_t row_grain(int64_t columns) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)); }
int64_t column_grain(int64_t rows) { return std::max<int64_t>(64, kGrain / std::max<int64_t>(1, rows)); }

at::Tensor as_factor(const at::Tensor& x) { return precision() == Precision::kBFloat16 ? to_bfloat16(x) : x; }

void product(int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b, float beta, float* c) {
  const Timed timed(Work::kProducts);
  if (a.numbers.scalar_type() == at::kBFloat16) {
    multiply<kernel::BFloat16>(m, n, k, a, b, beta, c);
  } else {
    multiply<float>(m, n, k, a, b, beta, c);
  }
}

void apply_epilogue(float* out, int64_t rows, int64_t columns, const at::Tensor& bias, const at::Tensor& residual, kernel::DropoutMask mask) {
  const float *added = bias.defined() ? bias.data_ptr<float>() : nullptr, *base = residual.defined() ? residual.data_ptr<float>() : nullptr;
  if (!added && !base && mask.probability == 0) return;
  check_residual(residual, {rows, columns});
  const Timed timed(Work::kElementwise);
  parallel_for(rows, row_grain(columns), [&](int64_t begin, int64_t end) {
    const int64_t first = begin * columns;
    kernel::float_kernels().bias_dropout_add(out + first, added, base ? base + first : nullptr, end - begin, columns, first, mask);
  });
}

void add_column_sums(const float* x, int64_t rows, int64_t columns, float* sums) {
  parallel_for(columns, column_grain(rows), [&](int64_t begin, int64_t end) {
    kernel::float_kernels().add_column_sums(x + begin, columns, sums + begin, rows, end - begin);
  });
}

void add_column_sums(const at::Tensor& x, float* sums) {
  const int64_t rows = x.size(0), columns = x.size(1);
  if (x.scalar_type() == at::kFloat) return add_column_sums(x.data_ptr<float>(), rows, columns, sums);
  const auto* from = numbers<kernel::BFloat16>(x);
  parallel_for(columns, column_grain(rows), [&](int64_t begin, int64_t end) {
    kernel::float_kernels().add_column_sums_bfloat16(from + begin, columns, sums + begin, rows, end - begin);
  });
}

at::Tensor epilogue_backward(const at::Tensor& upper, kernel::DropoutMask mask, const at::Tensor& other, GradientOf& bias) {
  const int64_t rows = upper.size(0), columns = upper.size(1);
  const float* from = upper.data_ptr<float>();
  const Timed timed(Work::kElementwise);
  bias.clear();
  if (other.scalar_type() == at::kBFloat16) {
    at::Tensor factor = at::empty(upper.sizes(), other.options());
    kernel::BFloat16* to = mutable_numbers(factor);
    parallel_for(columns, column_grain(rows), [&](int64_t begin, int64_t end) {
      float* sums = bias.wanted() ? bias.data() + begin : nullptr;
      kernel::float_kernels().dropout_backward_bfloat16(from + begin, to + begin, sums, columns, rows, end - begin, begin, mask);
    });
    return factor;
  }
  const at::Tensor factor = mask.probability > 0 ? dropout_fast(upper, mask) : upper;
  if (bias.wanted()) add_column_sums(factor, bias.data());
  return factor;
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

int64_t even_slices(int64_t rows, int64_t most, int64_t multiple) {
  const auto up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t slices = std::max<int64_t>(1, up(rows, std::max<int64_t>(1, most)));
  return up(std::max<int64_t>(1, up(rows, slices)), multiple) * multiple;
}

void GradientOf::clear() {
  if (made_.defined()) made_.zero_();
}

}  // namespace seqmill::tensor
