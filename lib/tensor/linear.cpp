#include "tensor/linear.h"

#include <cstring>

#include "base/threads.h"
#include "kernel/gemm.h"
#include "tensor/autograd.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// out [rows, out] = x [rows, in] weight^T.
void multiply(const Matrix& x, const at::Tensor& weight, float* out, int64_t rows) {
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  product(rows, outputs, inputs, x, {weight, inputs, 0, true}, 0, out);
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias, const c10::optional<at::Tensor>& residual, kernel::DropoutMask mask) {
    const at::Tensor bias_or_none = bias.value_or(at::Tensor());
    at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options());
    // In bfloat16 these are copies, which serve the backward pass too.
    const at::Tensor x_factor = as_factor(x), weight_factor = as_factor(weight);
    context->save_for_backward({x_factor, weight_factor});
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["residual"] = residual.has_value();
    save_mask(context, "mask", mask);
    context->saved_data["weight-gradient"] = gradient_in_place(weight);
    context->saved_data["bias-gradient"] = gradient_in_place(bias_or_none);
    multiply({x_factor, x.size(1)}, weight_factor, out.data_ptr<float>(), x.size(0));
    apply_epilogue(out.data_ptr<float>(), out.size(0), out.size(1), bias_or_none, residual.value_or(at::Tensor()), mask);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], upper = grads[0].contiguous();
    const int64_t rows = x.size(0), outputs = weight.size(0), inputs = weight.size(1);
    const bool has_bias = context->saved_data["bias"].toBool(), has_residual = context->saved_data["residual"].toBool();
    const GradientOf grad_x({}, context->needs_input_grad(0), {rows, inputs}, upper.options());
    const GradientOf grad_weight(context->saved_data["weight-gradient"].toTensor(), context->needs_input_grad(1), {outputs, inputs},
                                 upper.options());
    GradientOf grad_bias(context->saved_data["bias-gradient"].toTensor(), has_bias && context->needs_input_grad(2), {outputs},
                         upper.options());
    const at::Tensor inner = epilogue_backward(upper, saved_mask(context, "mask"), x, grad_bias);
    if (grad_x.wanted()) product(rows, inputs, outputs, {inner, outputs}, {weight, inputs}, 0, grad_x.data());
    if (grad_weight.wanted()) {
      product(outputs, inputs, rows, {inner, outputs, 0, true}, {x, inputs}, grad_weight.beta(), grad_weight.data());
    }
    // The residual passes its gradient on as it is.
    return {grad_x.result(), grad_weight.result(), grad_bias.result(), has_residual ? upper : at::Tensor(), {}};
  }
};

at::Tensor forward_invariant(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Epilogue& epilogue) {
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
  const at::Tensor& all = copy.defined() ? copy : x;
  if (kernel::invariant_in_multiples()) {
    multiply({all, inputs}, weight, out.data_ptr<float>(), padded);
  } else {
    parallel_for(padded / kernel::kInvariantRows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kernel::kInvariantRows;
        multiply({all, inputs, first}, weight, out.data_ptr<float>() + first * out.size(1), kernel::kInvariantRows);
      }
    });
  }
  apply_epilogue(out.data_ptr<float>(), rows, out.size(1), bias, epilogue.residual, next_mask(epilogue.stream, epilogue.probability));
  return out.narrow(0, 0, rows);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Epilogue& epilogue) {
  const auto fast_if_defined = [](const at::Tensor& tensor) { return !tensor.defined() || is_fast(tensor); };
  const auto recorded = [](const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const bool fast = is_fast(x) && is_fast(weight) && x.dim() == 2 && fast_if_defined(bias) && fast_if_defined(epilogue.residual);
  if (!fast) return dropout(at::linear(x, weight, bias), epilogue);
  const bool records = at::GradMode::is_enabled() && (recorded(x) || recorded(weight) || recorded(bias) || recorded(epilogue.residual));
  if (!records) return forward_invariant(x, weight, bias, epilogue);
  return LinearFunction::apply(x, weight, optional(bias), optional(epilogue.residual), next_mask(epilogue.stream, epilogue.probability));
}

}  // namespace seqmill::tensor
