#include "tensor/feed_forward.h"

#include <algorithm>

#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"
#include "tensor/autograd.h"
#include "tensor/bfloat16.h"
#include "tensor/linear.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// So many rows of hidden units are held in float32 at a time: fewer stay nearer in the caches, but products of few rows are slower (of 512 x 512 x
// 2048, two cores did 687 GFLOP/s, of 1800 x 512 x 2048, 778).
constexpr int64_t kSliceRows = 1024;

/// hidden [N, H] = dropout(relu(x up^T + bias)), as factors.
at::Tensor hidden_units(const at::Tensor& x, const at::Tensor& up, const at::Tensor& bias, kernel::DropoutMask mask) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = x.size(0), inputs = up.size(1), size = up.size(0);
  const bool in_bfloat16 = x.scalar_type() == at::kBFloat16;
  at::Tensor hidden = at::empty({rows, size}, x.options().requires_grad(false));
  at::Tensor slice;
  const int64_t slice_size = even_slices(rows, kSliceRows);
  if (in_bfloat16) slice = at::empty({slice_size, size}, hidden.options().dtype(at::kFloat));
  for (int64_t first = 0; first < rows; first += slice_size) {
    const int64_t count = std::min(slice_size, rows - first);
    float* to = in_bfloat16 ? slice.data_ptr<float>() : hidden.data_ptr<float>() + first * size;
    product(count, size, inputs, {x, inputs, first}, {up, inputs, 0, true}, 0, to);
    parallel_for(count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {  // which is rounded while it is near
        const int64_t offset = row * size, at = first * size + offset;
        kernel::float_kernels().bias_relu(to + offset, bias.data_ptr<float>(), 1, size, at, mask);
        if (in_bfloat16) kernel::float_kernels().to_bfloat16(to + offset, mutable_numbers(hidden) + at, size);
      }
    });
  }
  return hidden;
}

/// The gradient before the activation [N, H] as factors, from that of the output; its column sums are added to `bias_sums`.
at::Tensor hidden_gradient(const at::Tensor& upper, const at::Tensor& down, const at::Tensor& hidden, float scale, float* bias_sums) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = upper.size(0), outputs = down.size(0), size = down.size(1);
  const bool in_bfloat16 = upper.scalar_type() == at::kBFloat16;
  at::Tensor gradient = at::empty({rows, size}, upper.options());
  at::Tensor slice;
  const int64_t slice_size = even_slices(rows, kSliceRows);
  if (in_bfloat16) slice = at::empty({slice_size, size}, upper.options().dtype(at::kFloat));
  for (int64_t first = 0; first < rows; first += slice_size) {
    const int64_t count = std::min(slice_size, rows - first), start = first * size;
    float* to = in_bfloat16 ? slice.data_ptr<float>() : gradient.data_ptr<float>() + start;
    product(count, size, outputs, {upper, outputs, first}, {down, size}, 0, to);
    if (in_bfloat16) {
      // Each thread goes down some columns of all rows, so that a sum does not depend on the number of threads.
      parallel_for(size, 64, [&](int64_t begin, int64_t end) {
        kernel::float_kernels().relu_backward_bfloat16(to + begin, numbers<kernel::BFloat16>(hidden) + start + begin, scale,
                                                       mutable_numbers(gradient) + start + begin, bias_sums ? bias_sums + begin : nullptr,
                                                       size, count, end - begin);
      });
      continue;
    }
    parallel_for(count * size, 1 << 15, [&](int64_t begin, int64_t end) {
      kernel::float_kernels().relu_backward(to + begin, hidden.data_ptr<float>() + start + begin, end - begin, scale);
    });
    if (bias_sums) add_column_sums(to, count, size, bias_sums);
  }
  return gradient;
}

struct FeedForwardFunction : torch::autograd::Function<FeedForwardFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& up, const at::Tensor& up_bias,
                            const at::Tensor& down, const at::Tensor& down_bias, kernel::DropoutMask mask,
                            const c10::optional<at::Tensor>& residual, kernel::DropoutMask epilogue_mask) {
    const at::Tensor x_factor = as_factor(x), up_factor = as_factor(up), down_factor = as_factor(down);
    const at::Tensor hidden = hidden_units(x_factor, up_factor, up_bias, mask);
    at::Tensor out = at::empty({x.size(0), down.size(0)}, x.options());
    product(out.size(0), out.size(1), up.size(0), {hidden, up.size(0)}, {down_factor, up.size(0), 0, true}, 0, out.data_ptr<float>());
    apply_epilogue(out.data_ptr<float>(), out.size(0), out.size(1), down_bias, residual.value_or(at::Tensor()), epilogue_mask);
    context->save_for_backward({x_factor, up_factor, down_factor, hidden});
    save_mask(context, "mask", mask);
    save_mask(context, "epilogue", epilogue_mask);
    context->saved_data["residual"] = residual.has_value();
    int64_t number = 0;
    for (const at::Tensor& parameter : {up, up_bias, down, down_bias}) {
      context->saved_data[std::to_string(++number)] = gradient_in_place(parameter);
    }
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &up = saved[1], &down = saved[2], &hidden = saved[3];
    const int64_t rows = x.size(0), inputs = up.size(1), size = up.size(0), outputs = down.size(0);
    const at::Tensor upper = grads[0].contiguous();
    const auto gradient_of = [&](size_t input, at::IntArrayRef sizes) {
      const at::Tensor place = input == 0 ? at::Tensor() : context->saved_data[std::to_string(input)].toTensor();
      return GradientOf(place, context->needs_input_grad(input), sizes, upper.options());
    };
    const GradientOf grad_x = gradient_of(0, {rows, inputs}), grad_up = gradient_of(1, {size, inputs}),
                     grad_down = gradient_of(3, {outputs, size});
    GradientOf grad_up_bias = gradient_of(2, {size}), grad_down_bias = gradient_of(4, {outputs});
    grad_up_bias.clear();
    const at::Tensor upper_factor = epilogue_backward(upper, saved_mask(context, "epilogue"), x, grad_down_bias);
    if (grad_down.wanted()) {
      product(outputs, size, rows, {upper_factor, outputs, 0, true}, {hidden, size}, grad_down.beta(), grad_down.data());
    }
    if (grad_up.wanted() || grad_up_bias.wanted() || grad_x.wanted()) {
      const float scale = 1 / (1 - saved_mask(context, "mask").probability);
      const at::Tensor inner = hidden_gradient(upper_factor, down, hidden, scale, grad_up_bias.data());
      if (grad_up.wanted()) product(size, inputs, rows, {inner, size, 0, true}, {x, inputs}, grad_up.beta(), grad_up.data());
      if (grad_x.wanted()) product(rows, inputs, size, {inner, size}, {up, inputs}, 0, grad_x.data());
    }
    return {grad_x.result(), grad_up.result(), grad_up_bias.result(), grad_down.result(), grad_down_bias.result(), {},
            context->saved_data["residual"].toBool() ? upper : at::Tensor(), {}};
  }
};

/// What comes before the gates [N, 2 H], and behind them [N, H], both as factors.
struct GatedUnits {
  at::Tensor gates, hidden;
};

GatedUnits gated_units(const at::Tensor& x, const at::Tensor& weight, kernel::DropoutMask mask) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = x.size(0), inputs = weight.size(1), width = weight.size(0), size = width / 2;
  const bool in_bfloat16 = x.scalar_type() == at::kBFloat16;
  GatedUnits units{at::empty({rows, width}, x.options().requires_grad(false)), at::empty({rows, size}, x.options().requires_grad(false))};
  at::Tensor slice, made;
  const int64_t slice_size = even_slices(rows, kSliceRows);
  if (in_bfloat16) {
    slice = at::empty({slice_size, width}, units.gates.options().dtype(at::kFloat));
    made = at::empty({slice_size, size}, slice.options());
  }
  const kernel::FloatKernels& kernels = kernel::float_kernels();
  for (int64_t first = 0; first < rows; first += slice_size) {
    const int64_t count = std::min(slice_size, rows - first);
    float* gates = in_bfloat16 ? slice.data_ptr<float>() : units.gates.data_ptr<float>() + first * width;
    float* hidden = in_bfloat16 ? made.data_ptr<float>() : units.hidden.data_ptr<float>() + first * size;
    product(count, width, inputs, {x, inputs, first}, {weight, inputs, 0, true}, 0, gates);
    parallel_for(count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {  // which is rounded while it is near
        float *from = gates + row * width, *to = hidden + row * size;
        kernels.swiglu(from, to, 1, size);
        if (mask.probability > 0) kernels.dropout(to, nullptr, to, (first + row) * size, size, mask);
        if (!in_bfloat16) continue;
        kernels.to_bfloat16(from, mutable_numbers(units.gates) + (first + row) * width, width);
        kernels.to_bfloat16(to, mutable_numbers(units.hidden) + (first + row) * size, size);
      }
    });
  }
  return units;
}

/// The gradient before the gates [N, 2 H] as factors, from that of the output.
at::Tensor gates_gradient(const at::Tensor& upper, const at::Tensor& down, const at::Tensor& gates, kernel::DropoutMask mask) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = upper.size(0), outputs = down.size(0), size = down.size(1), width = 2 * size;
  const bool in_bfloat16 = upper.scalar_type() == at::kBFloat16;
  at::Tensor gradient = at::empty({rows, width}, upper.options());
  const int64_t slice_size = even_slices(rows, kSliceRows);
  const at::Tensor slice = at::empty({slice_size, size}, upper.options().dtype(at::kFloat));
  const kernel::FloatKernels& kernels = kernel::float_kernels();
  for (int64_t first = 0; first < rows; first += slice_size) {
    const int64_t count = std::min(slice_size, rows - first);
    float* of_hidden = slice.data_ptr<float>();
    product(count, size, outputs, {upper, outputs, first}, {down, size}, 0, of_hidden);
    parallel_for(count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* from = of_hidden + row * size;
        const int64_t at = (first + row) * width;
        if (mask.probability > 0) kernels.dropout(from, nullptr, from, (first + row) * size, size, mask);
        if (in_bfloat16) {
          kernels.swiglu_backward_bfloat16(numbers<kernel::BFloat16>(gates) + at, from, mutable_numbers(gradient) + at, 1, size);
        } else {
          kernels.swiglu_backward(gates.data_ptr<float>() + at, from, gradient.data_ptr<float>() + at, 1, size);
        }
      }
    });
  }
  return gradient;
}

struct GatedFunction : torch::autograd::Function<GatedFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gates, const at::Tensor& down, kernel::DropoutMask mask,
                            const c10::optional<at::Tensor>& residual, kernel::DropoutMask epilogue_mask) {
    const at::Tensor x_factor = as_factor(x), gates_factor = as_factor(gates), down_factor = as_factor(down);
    const GatedUnits units = gated_units(x_factor, gates_factor, mask);
    const int64_t size = down.size(1);
    at::Tensor out = at::empty({x.size(0), down.size(0)}, x.options());
    product(out.size(0), out.size(1), size, {units.hidden, size}, {down_factor, size, 0, true}, 0, out.data_ptr<float>());
    apply_epilogue(out.data_ptr<float>(), out.size(0), out.size(1), {}, residual.value_or(at::Tensor()), epilogue_mask);
    context->save_for_backward({x_factor, gates_factor, down_factor, units.gates, units.hidden});
    save_mask(context, "mask", mask);
    save_mask(context, "epilogue", epilogue_mask);
    context->saved_data["residual"] = residual.has_value();
    context->saved_data["gates"] = gradient_in_place(gates);
    context->saved_data["down"] = gradient_in_place(down);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &gates = saved[1], &down = saved[2], &before = saved[3], &hidden = saved[4];
    const int64_t rows = x.size(0), inputs = gates.size(1), size = down.size(1), outputs = down.size(0);
    const at::Tensor upper = grads[0].contiguous();
    const GradientOf grad_x({}, context->needs_input_grad(0), {rows, inputs}, upper.options());
    const GradientOf grad_gates(context->saved_data["gates"].toTensor(), context->needs_input_grad(1), {2 * size, inputs}, upper.options());
    const GradientOf grad_down(context->saved_data["down"].toTensor(), context->needs_input_grad(2), {outputs, size}, upper.options());
    GradientOf no_bias({}, false, {outputs}, upper.options());
    const at::Tensor factor = epilogue_backward(upper, saved_mask(context, "epilogue"), x, no_bias);
    if (grad_down.wanted()) product(outputs, size, rows, {factor, outputs, 0, true}, {hidden, size}, grad_down.beta(), grad_down.data());
    if (grad_gates.wanted() || grad_x.wanted()) {
      const at::Tensor inner = gates_gradient(factor, down, before, saved_mask(context, "mask"));
      if (grad_gates.wanted()) {
        product(2 * size, inputs, rows, {inner, 2 * size, 0, true}, {x, inputs}, grad_gates.beta(), grad_gates.data());
      }
      if (grad_x.wanted()) product(rows, inputs, 2 * size, {inner, 2 * size}, {gates, inputs}, 0, grad_x.data());
    }
    return {grad_x.result(), grad_gates.result(), grad_down.result(), {}, context->saved_data["residual"].toBool() ? upper : at::Tensor(), {}};
  }
};

at::Tensor swiglu_general(const at::Tensor& gates) {
  const int64_t size = gates.size(-1) / 2;
  return at::silu(gates.narrow(-1, 0, size)) * gates.narrow(-1, size, size);
}

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gates) {
    context->save_for_backward({gates});
    return swiglu(gates.detach());
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const Timed timed(Work::kElementwise);
    const at::Tensor gates = context->get_saved_variables()[0], upper = grads[0].contiguous();
    const int64_t width = gates.size(1);
    at::Tensor gradient = at::empty(gates.sizes(), upper.options());
    parallel_for(gates.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
      kernel::float_kernels().swiglu_backward(gates.data_ptr<float>() + begin * width, upper.data_ptr<float>() + begin * width / 2,
                                              gradient.data_ptr<float>() + begin * width, end - begin, width / 2);
    });
    return {gradient};
  }
};

}  // namespace

at::Tensor feed_forward(const at::Tensor& x, const FeedForwardWeights& weights, const std::string& activation, double probability,
                        DropoutStream* stream, const Epilogue& epilogue) {
  std::vector<at::Tensor> all = {x, weights.up, weights.up_bias, weights.down, weights.down_bias};
  if (epilogue.residual.defined()) all.push_back(epilogue.residual);
  const bool records = at::GradMode::is_enabled() && std::any_of(all.begin(), all.end(), [](const at::Tensor& t) { return t.defined() && t.requires_grad(); });
  const bool fast = x.dim() == 2 && std::all_of(all.begin(), all.end(), [](const at::Tensor& t) { return t.defined() && is_fast(t); });
  if (!records || !fast || activation != "relu") {
    const at::Tensor before = linear(x, weights.up, weights.up_bias);
    const at::Tensor hidden = activation == "gelu" ? at::gelu(before) : at::relu(before);
    return linear(dropout(hidden, probability, stream), weights.down, weights.down_bias, epilogue);
  }
  const kernel::DropoutMask mask = next_mask(stream, probability), epilogue_mask = next_mask(epilogue.stream, epilogue.probability);
  return FeedForwardFunction::apply(x, weights.up, weights.up_bias, weights.down, weights.down_bias, mask, optional(epilogue.residual),
                                    epilogue_mask);
}

at::Tensor swiglu(const at::Tensor& gates) {
  if (!is_fast(gates) || gates.dim() != 2) return swiglu_general(gates);
  if (at::GradMode::is_enabled() && gates.requires_grad()) return SwigluFunction::apply(gates);
  const Timed timed(Work::kElementwise);
  const int64_t width = gates.size(1);
  at::Tensor out = at::empty({gates.size(0), width / 2}, gates.options());
  parallel_for(gates.size(0), row_grain(width), [&](int64_t begin, int64_t end) {
    kernel::float_kernels().swiglu(gates.data_ptr<float>() + begin * width, out.data_ptr<float>() + begin * width / 2, end - begin, width / 2);
  });
  return out;
}

at::Tensor gated_feed_forward(const at::Tensor& x, const at::Tensor& gates, const at::Tensor& down, double probability, DropoutStream* stream,
                              const Epilogue& epilogue) {
  std::vector<at::Tensor> all = {x, gates, down};
  if (epilogue.residual.defined()) all.push_back(epilogue.residual);
  const bool records = at::GradMode::is_enabled() && std::any_of(all.begin(), all.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  const bool fast = x.dim() == 2 && std::all_of(all.begin(), all.end(), is_fast);
  if (!records || !fast) return tensor::linear(dropout(swiglu(tensor::linear(x, gates)), probability, stream), down, at::Tensor(), epilogue);
  const kernel::DropoutMask mask = next_mask(stream, probability), epilogue_mask = next_mask(epilogue.stream, epilogue.probability);
  return GatedFunction::apply(x, gates, down, mask, optional(epilogue.residual), epilogue_mask);
}

}  // namespace seqmill::tensor
