#include "tensor/linear.h"

#include <cstring>

#include "kernel/gemm.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// out [rows, out] = x [rows, in] weight^T.
void multiply(const at::Tensor& x, const at::Tensor& weight, float* out, int64_t rows) {
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  product(rows, outputs, inputs, {x, inputs}, {weight, inputs, 0, true}, 0, out);
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias, const c10::optional<at::Tensor>& residual, int64_t key, double probability) {
    const at::Tensor bias_or_none = bias.value_or(at::Tensor());
    at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options());
    // In bfloat16 these are copies, which serve the backward pass too.
    const at::Tensor x_factor = as_factor(x), weight_factor = as_factor(weight);
    context->save_for_backward({x_factor, weight_factor});
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["residual"] = residual.has_value();
    context->saved_data["key"] = key;
    context->saved_data["probability"] = probability;
    context->saved_data["weight-gradient"] = gradient_in_place(weight);
    context->saved_data["bias-gradient"] = gradient_in_place(bias_or_none);
    multiply(x_factor, weight_factor, out.data_ptr<float>(), x.size(0));
    finish_rows(out.data_ptr<float>(), out.size(0), out.size(1), bias_or_none, residual.value_or(at::Tensor()),
                {static_cast<uint64_t>(key), static_cast<float>(probability)});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], upper = grads[0].contiguous();
    const kernel::DropoutMask mask{static_cast<uint64_t>(context->saved_data["key"].toInt()),
                                   static_cast<float>(context->saved_data["probability"].toDouble())};
    const int64_t rows = x.size(0), outputs = weight.size(0), inputs = weight.size(1);
    const bool has_bias = context->saved_data["bias"].toBool(), has_residual = context->saved_data["residual"].toBool();
    const GradientOf grad_x({}, context->needs_input_grad(0), {rows, inputs}, upper.options());
    const GradientOf grad_weight(context->saved_data["weight-gradient"].toTensor(), context->needs_input_grad(1), {outputs, inputs},
                                 upper.options());
    GradientOf grad_bias(context->saved_data["bias-gradient"].toTensor(), has_bias && context->needs_input_grad(2), {outputs},
                         upper.options());
    const at::Tensor inner = gradient_before_finish(upper, mask, x, grad_bias);
    if (grad_x.wanted()) product(rows, inputs, outputs, {inner, outputs}, {weight, inputs}, 0, grad_x.data());
    if (grad_weight.wanted()) {
      product(outputs, inputs, rows, {inner, outputs, 0, true}, {x, inputs}, grad_weight.beta(), grad_weight.data());
    }
    // The residual passes its gradient on as it is.
    return {grad_x.result(), grad_weight.result(), grad_bias.result(), has_residual ? upper : at::Tensor(), {}, {}};
  }
};

at::Tensor forward_invariant(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Joint& joint) {
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
  multiply(copy.defined() ? copy : x, weight, out.data_ptr<float>(), padded);
  finish_rows(out.data_ptr<float>(), rows, out.size(1), bias, joint.residual, joint.mask());
  return out.narrow(0, 0, rows);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Joint& joint) {
  const auto fast_if_defined = [](const at::Tensor& tensor) { return !tensor.defined() || is_fast(tensor); };
  const auto recorded = [](const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const auto optional = [](const at::Tensor& tensor) { return tensor.defined() ? c10::make_optional(tensor) : c10::nullopt; };
  const bool fast = is_fast(x) && is_fast(weight) && x.dim() == 2 && fast_if_defined(bias) && fast_if_defined(joint.residual);
  if (!fast) return dropout(at::linear(x, weight, bias), joint.probability, joint.stream, joint.residual);
  const bool records = at::GradMode::is_enabled() && (recorded(x) || recorded(weight) || recorded(bias) || recorded(joint.residual));
  if (!records) return forward_invariant(x, weight, bias, joint);
  const kernel::DropoutMask mask = joint.mask();
  return LinearFunction::apply(x, weight, optional(bias), optional(joint.residual), static_cast<int64_t>(mask.key),
                               static_cast<double>(mask.probability));
}

}  // namespace seqmill::tensor
