#include "tensor/layer_norm.h"

#include "base/error.h"
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

/// `moments` [2, N] receives the means (none of RMS), then the inverse deviations.
at::Tensor forward_fast(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormSettings settings, const at::Tensor& moments) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor out = at::empty({rows, columns}, x.options());
  const float *from = x.data_ptr<float>(), *scale = weight.data_ptr<float>(), *shift = bias.defined() ? bias.data_ptr<float>() : nullptr;
  float *to = out.data_ptr<float>(), *mean = moments.data_ptr<float>(), *inverse = mean + rows;
  const auto epsilon = static_cast<float>(settings.epsilon);
  const kernel::FloatKernels& kernels = kernel::float_kernels();
  parallel_for(rows, row_grain(columns), [&](int64_t begin, int64_t end) {
    const int64_t at = begin * columns, count = end - begin;
    if (settings.kind == NormKind::kRms) return kernels.rms_norm(from + at, scale, epsilon, to + at, inverse + begin, count, columns);
    const auto normalise = settings.kind == NormKind::kL1 ? kernels.l1_norm : kernels.layer_norm;
    normalise(from + at, scale, shift, epsilon, to + at, mean + begin, inverse + begin, count, columns);
  });
  return out;
}

at::Tensor moments_of(const at::Tensor& x) { return at::empty({2, x.size(0)}, x.options()); }

struct LayerNormFunction : torch::autograd::Function<LayerNormFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const c10::optional<at::Tensor>& bias_or_none,
                               NormSettings settings, bool with_residual) {
    const at::Tensor moments = moments_of(x), bias = bias_or_none.value_or(at::Tensor());
    const at::Tensor out = forward_fast(x, weight, bias, settings, moments);
    context->saved_data["kind"] = static_cast<int64_t>(settings.kind);
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
    const auto kind = static_cast<NormKind>(context->saved_data["kind"].toInt());
    if (!grads[0].defined()) return {grads.size() > 1 ? grads[1] : at::Tensor(), {}, {}, {}, {}};
    const at::Tensor upper = grads[0].contiguous();
    const at::Tensor residual = grads.size() > 1 && grads[1].defined() ? grads[1].contiguous() : at::Tensor();
    const GradientOf grad_x({}, context->needs_input_grad(0), {rows, columns}, upper.options());
    GradientOf grad_weight(context->saved_data["weight-gradient"].toTensor(), context->needs_input_grad(1), {columns}, upper.options());
    GradientOf grad_bias(context->saved_data["bias-gradient"].toTensor(), kind != NormKind::kRms && context->needs_input_grad(2), {columns}, upper.options());
    const float *from = x.data_ptr<float>(), *scale = weight.data_ptr<float>(), *above = upper.data_ptr<float>(),
                *passed = residual.defined() ? residual.data_ptr<float>() : nullptr, *mean = moments.data_ptr<float>(), *inverse = mean + rows;
    if (grad_x.wanted()) {
      const kernel::FloatKernels& kernels = kernel::float_kernels();
      parallel_for(rows, row_grain(columns), [&](int64_t begin, int64_t end) {
        const int64_t at = begin * columns, count = end - begin;
        const float* besides = passed ? passed + at : nullptr;
        if (kind == NormKind::kRms) {
          kernels.rms_norm_backward(from + at, scale, inverse + begin, above + at, besides, grad_x.data() + at, count, columns);
        } else {
          const auto norm_backward = kind == NormKind::kL1 ? kernels.l1_norm_backward : kernels.layer_norm_backward;
          norm_backward(from + at, scale, mean + begin, inverse + begin, above + at, besides, grad_x.data() + at, count, columns);
        }
      });
    }
    grad_weight.clear();
    grad_bias.clear();
    if (grad_weight.wanted() || grad_bias.wanted()) {
      parallel_for(columns, column_grain(rows), [&](int64_t begin, int64_t end) {
        kernel::float_kernels().layer_norm_weight_backward(from + begin, kind == NormKind::kRms ? nullptr : mean, inverse, above + begin, columns,
                                                           grad_weight.wanted() ? grad_weight.data() + begin : nullptr,
                                                           grad_bias.wanted() ? grad_bias.data() + begin : nullptr, rows, end - begin);
      });
    }
    return {grad_x.result(), grad_weight.result(), grad_bias.result(), {}, {}};
  }
};

/// By LibTorch's operators, for other devices and types.
at::Tensor norm_general(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormSettings settings) {
  if (settings.kind == NormKind::kL2) return at::layer_norm(x, weight.sizes(), weight, bias, settings.epsilon);
  if (settings.kind == NormKind::kRms) return x * at::rsqrt((x * x).mean(-1, true) + settings.epsilon) * weight;
  const at::Tensor centred = x - x.mean(-1, true);
  return centred / (centred.abs().mean(-1, true) * kernel::kDeviationOfMeanDeviation + settings.epsilon) * weight + bias;
}

/// With the residual as a second result only where a gradient may come back through it.
variable_list normalise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormSettings settings, bool with_residual) {
  const bool has_bias = settings.kind != NormKind::kRms;
  if (bias.defined() != has_bias) fail("normalisation by the mean square has no bias, others have one");
  const bool fits = x.dim() == 2 && weight.dim() == 1 && weight.size(0) == x.size(1) && (!has_bias || weight.sizes() == bias.sizes());
  // Parameters that do not fit are an error there.
  if (!fits || !is_fast(x) || !is_fast(weight) || (has_bias && !is_fast(bias))) return {norm_general(x, weight, bias, settings)};
  const bool learns = x.requires_grad() || weight.requires_grad() || (has_bias && bias.requires_grad());
  if (!at::GradMode::is_enabled() || !learns) return {forward_fast(x, weight, bias, settings, moments_of(x))};
  return LayerNormFunction::apply(x, weight, optional(bias), settings, with_residual && x.requires_grad());
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormSettings settings) {
  return normalise(x, weight, bias, settings, false)[0];
}

Normed layer_norm_with_residual(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, NormSettings settings) {
  const variable_list out = normalise(x, weight, bias, settings, true);
  return {out[0], out.size() > 1 ? out[1] : x};
}

}  // namespace seqmill::tensor
