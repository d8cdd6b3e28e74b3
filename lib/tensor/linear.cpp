#include "tensor/linear.h"

#include <cstring>

#include "kernel/gemm.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// out [rows, out] = x [rows, in] weight^T + bias.
void forward_into(const Matrix& x, const at::Tensor& weight, const at::Tensor& bias, float* out, int64_t rows) {
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  if (bias.defined()) fill_rows(bias, out, rows, outputs);
  product(rows, outputs, inputs, x, {weight, inputs, 0, true}, bias.defined() ? 1.0f : 0.0f, out);
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias) {
    at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options());
    // In bfloat16 these are copies, which serve the backward pass too.
    const at::Tensor x_factor = as_factor(x), weight_factor = as_factor(weight);
    context->save_for_backward({x_factor, weight_factor});
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["weight-gradient"] = gradient_in_place(weight);
    context->saved_data["bias-gradient"] = gradient_in_place(bias.value_or(at::Tensor()));
    forward_into({x_factor, x.size(1)}, weight_factor, bias.value_or(at::Tensor()), out.data_ptr<float>(), x.size(0));
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor upper = grads[0].contiguous(), upper_factor = as_factor_like(x, upper);
    const int64_t rows = x.size(0), outputs = weight.size(0), inputs = weight.size(1);
    const GradientOf grad_x({}, context->needs_input_grad(0), {rows, inputs}, upper.options());
    const GradientOf grad_weight(context->saved_data["weight-gradient"].toTensor(), context->needs_input_grad(1), {outputs, inputs},
                                 upper.options());
    GradientOf grad_bias(context->saved_data["bias-gradient"].toTensor(), context->saved_data["bias"].toBool() && context->needs_input_grad(2), {outputs},
                         upper.options());
    const Matrix upward{upper_factor, outputs}, upward_transposed{upper_factor, outputs, 0, true};
    if (grad_x.wanted()) product(rows, inputs, outputs, upward, {weight, inputs}, 0, grad_x.data());
    if (grad_weight.wanted()) {
      product(outputs, inputs, rows, upward_transposed, {x, inputs}, grad_weight.beta(), grad_weight.data());
    }
    if (grad_bias.wanted()) {
      grad_bias.clear();
      add_column_sums(upper.data_ptr<float>(), rows, outputs, grad_bias.data());
    }
    return {grad_x.result(), grad_weight.result(), grad_bias.result()};
  }
};

at::Tensor forward_invariant(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t rows = x.size(0), inputs = x.size(1);
  const int64_t padded = (rows + kernel::kInvariantRows - 1) / kernel::kInvariantRows * kernel::kInvariantRows;
  at::Tensor copy;
  if (padded != rows) {
    copy = at::empty({padded, inputs}, x.options());
    float* to = copy.data_ptr<float>();
    std::memcpy(to, x.data_ptr<float>(), static_cast<size_t>(rows * inputs) * sizeof(float));
    std::memset(to + rows * inputs, 0, static_cast<size_t>((padded - rows) * inputs) * sizeof(float));
  }
  at::Tensor out = at::empty({padded, weight.size(0)}, x.options());
  forward_into({copy.defined() ? copy : x, inputs}, weight, bias, out.data_ptr<float>(), padded);
  return out.narrow(0, 0, rows);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const bool fast = is_fast(x) && is_fast(weight) && x.dim() == 2 && (!bias.defined() || is_fast(bias));
  if (!fast) return at::linear(x, weight, bias);
  const bool records = at::GradMode::is_enabled() &&
                       (x.requires_grad() || weight.requires_grad() || (bias.defined() && bias.requires_grad()));
  if (!records) return forward_invariant(x, weight, bias);
  return LinearFunction::apply(x, weight, bias.defined() ? c10::make_optional(bias) : c10::nullopt);
}

}  // namespace seqmill::tensor
