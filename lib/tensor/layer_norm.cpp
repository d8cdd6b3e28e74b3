#include "tensor/layer_norm.h"

#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"
#include "tensor/autograd.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kEpsilon = 1e-5;

/// `moments` [2, N] receives the means, then the inverse deviations.
at::Tensor forward_fast(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormKind kind, const at::Tensor& moments) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor out = at::empty({rows, columns}, x.options());
  const float *from = x.data_ptr<float>(), *scale = weight.data_ptr<float>(), *shift = bias.data_ptr<float>();
  float *to = out.data_ptr<float>(), *mean = moments.data_ptr<float>(), *inverse = mean + rows;
  const auto normalise = kind == NormKind::kL1 ? kernel::float_kernels().l1_norm : kernel::float_kernels().layer_norm;
  parallel_for(rows, row_grain(columns), [&](int64_t begin, int64_t end) {
    normalise(from + begin * columns, scale, shift, static_cast<float>(kEpsilon), to + begin * columns, mean + begin, inverse + begin, end - begin,
              columns);
  });
  return out;
}

at::Tensor moments_of(const at::Tensor& x) { return at::empty({2, x.size(0)}, x.options()); }

struct LayerNormFunction : torch::autograd::Function<LayerNormFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormKind kind, bool with_residual) {
    const at::Tensor moments = moments_of(x);
    const at::Tensor out = forward_fast(x, weight, bias, kind, moments);
    context->saved_data["l1"] = kind == NormKind::kL1;
    context->save_for_backward({x, weight, moments});
    context->saved_data["weight-gradient"] = gradient_in_place(weight);
    context->saved_data["bias-gradient"] = gradient_in_place(bias);
    context->set_materialize_grads(false);  // of two results one may go unused
    return with_residual ? variable_list{out, x} : variable_list{out};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const Timed timed(Work::kElementwise);
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &moments = saved[2];
    const int64_t rows = x.size(0), columns = x.size(1);
    if (!grads[0].defined()) return {grads.size() > 1 ? grads[1] : at::Tensor(), {}, {}, {}, {}};
    const at::Tensor upper = grads[0].contiguous();
    const at::Tensor residual = grads.size() > 1 && grads[1].defined() ? grads[1].contiguous() : at::Tensor();
    const GradientOf grad_x({}, context->needs_input_grad(0), {rows, columns}, upper.options());
    GradientOf grad_weight(context->saved_data["weight-gradient"].toTensor(), context->needs_input_grad(1), {columns}, upper.options());
    GradientOf grad_bias(context->saved_data["bias-gradient"].toTensor(), context->needs_input_grad(2), {columns}, upper.options());
    const float *from = x.data_ptr<float>(), *scale = weight.data_ptr<float>(), *above = upper.data_ptr<float>(),
                *passed = residual.defined() ? residual.data_ptr<float>() : nullptr, *mean = moments.data_ptr<float>(), *inverse = mean + rows;
    if (grad_x.wanted()) {
      const bool l1 = context->saved_data["l1"].toBool();
      const auto norm_backward = l1 ? kernel::float_kernels().l1_norm_backward : kernel::float_kernels().layer_norm_backward;
      parallel_for(rows, row_grain(columns), [&](int64_t begin, int64_t end) {
        const int64_t at = begin * columns;
        norm_backward(from + at, scale, mean + begin, inverse + begin, above + at, passed ? passed + at : nullptr, grad_x.data() + at, end - begin,
                      columns);
      });
    }
    grad_weight.clear();
    grad_bias.clear();
    if (grad_weight.wanted() || grad_bias.wanted()) {
      parallel_for(columns, column_grain(rows), [&](int64_t begin, int64_t end) {
        kernel::float_kernels().layer_norm_weight_backward(from + begin, mean, inverse, above + begin, columns,
                                                           grad_weight.wanted() ? grad_weight.data() + begin : nullptr,
                                                           grad_bias.wanted() ? grad_bias.data() + begin : nullptr, rows, end - begin);
      });
    }
    return {grad_x.result(), grad_weight.result(), grad_bias.result(), {}, {}};
  }
};

/// By LibTorch's operators, for other devices and types.
at::Tensor norm_general(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormKind kind) {
  if (kind == NormKind::kL2) return at::layer_norm(x, weight.sizes(), weight, bias, kEpsilon);
  const at::Tensor centred = x - x.mean(-1, true);
  return centred / (centred.abs().mean(-1, true) * kernel::kDeviationOfMeanDeviation + kEpsilon) * weight + bias;
}

/// With the residual as a second result only where a gradient may come back through it.
variable_list normalise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormKind kind, bool with_residual) {
  const bool fits = x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1) && weight.sizes() == bias.sizes();
  // Parameters that do not fit are an error there.
  if (!fits || !is_fast(x) || !is_fast(weight) || !is_fast(bias)) return {norm_general(x, weight, bias, kind)};
  if (!at::GradMode::is_enabled() || (!x.requires_grad() && !weight.requires_grad() && !bias.requires_grad())) {
    return {forward_fast(x, weight, bias, kind, moments_of(x))};
  }
  return LayerNormFunction::apply(x, weight, bias, kind, with_residual && x.requires_grad());
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormKind kind) {
  return normalise(x, weight, bias, kind, false)[0];
}

Normed layer_norm_with_residual(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormKind kind) {
  const variable_list out = normalise(x, weight, bias, kind, true);
  return {out[0], out.size() > 1 ? out[1] : x};
}

}  // namespace seqmill::tensor
