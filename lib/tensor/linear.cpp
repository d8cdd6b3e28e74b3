#include "tensor/linear.h"

#include <cstring>

#include "base/threads.h"
#include "kernel/float_kernels.h"
#include "kernel/gemm.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 1 << 15;

int64_t row_grain(int64_t columns) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)); }

/// x [rows, in] as raw pointers -> out [rows, out].
void forward_into(const float* x, const at::Tensor& weight, const at::Tensor& bias, float* out, int64_t rows) {
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  if (bias.defined()) {
    const float* from = bias.data_ptr<float>();
    parallel_for(rows, row_grain(outputs), [&](int64_t begin, int64_t end) {
      kernel::float_kernels().fill_rows(from, out + begin * outputs, end - begin, outputs);
    });
  }
  kernel::gemm(false, true, rows, outputs, inputs, x, inputs, weight.data_ptr<float>(), inputs, bias.defined() ? 1.0f : 0.0f,
               out, outputs);
}

at::Tensor column_sums(const at::Tensor& x) {
  const int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor sums = at::zeros({columns}, x.options());
  // By rows in one thread: the matrix is read once, and the order of the sum does not depend on the number of threads.
  kernel::float_kernels().add_column_sums(x.data_ptr<float>(), sums.data_ptr<float>(), rows, columns);
  return sums;
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias) {
    context->saved_data["bias"] = bias.has_value();
    context->save_for_backward({x, weight});
    at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options());
    forward_into(x.data_ptr<float>(), weight, bias.value_or(at::Tensor()), out.data_ptr<float>(), x.size(0));
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor upper = grads[0].contiguous();
    const int64_t rows = x.size(0), outputs = weight.size(0), inputs = weight.size(1);
    const float* from = upper.data_ptr<float>();
    at::Tensor grad_x, grad_weight, grad_bias;
    if (context->needs_input_grad(0)) {
      grad_x = at::empty_like(x);
      kernel::gemm(false, false, rows, inputs, outputs, from, outputs, weight.data_ptr<float>(), inputs, 0,
                   grad_x.data_ptr<float>(), inputs);
    }
    if (context->needs_input_grad(1)) {
      grad_weight = at::empty_like(weight);
      kernel::gemm(true, false, outputs, inputs, rows, from, outputs, x.data_ptr<float>(), inputs, 0,
                   grad_weight.data_ptr<float>(), inputs);
    }
    if (context->saved_data["bias"].toBool()) grad_bias = column_sums(upper);
    return {grad_x, grad_weight, grad_bias};
  }
};

at::Tensor forward_invariant(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t rows = x.size(0), inputs = x.size(1);
  const int64_t padded = (rows + kernel::kInvariantRows - 1) / kernel::kInvariantRows * kernel::kInvariantRows;
  const float* from = x.data_ptr<float>();
  at::Tensor copy;
  if (padded != rows) {
    copy = at::empty({padded, inputs}, x.options());
    float* to = copy.data_ptr<float>();
    std::memcpy(to, from, static_cast<size_t>(rows * inputs) * sizeof(float));
    std::memset(to + rows * inputs, 0, static_cast<size_t>((padded - rows) * inputs) * sizeof(float));
    from = to;
  }
  at::Tensor out = at::empty({padded, weight.size(0)}, x.options());
  forward_into(from, weight, bias, out.data_ptr<float>(), padded);
  return out.narrow(0, 0, rows);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!is_fast(x) || !is_fast(weight) || x.dim() != 2) return at::linear(x, weight, bias);
  const bool records = at::GradMode::is_enabled() &&
                       (x.requires_grad() || weight.requires_grad() || (bias.defined() && bias.requires_grad()));
  if (!records) return forward_invariant(x, weight, bias);
  return LinearFunction::apply(x, weight, bias.defined() ? c10::make_optional(bias) : c10::nullopt);
}

}  // namespace seqmill::tensor
