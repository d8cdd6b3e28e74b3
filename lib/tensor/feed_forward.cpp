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

}  // namespace

at::Tensor feed_forward(const at::Tensor& x, const FeedForwardWeights& weights, const std::string& activation, double probability,
                        DropoutStream* stream, const Epilogue& epilogue) {
  std::vector<at::Tensor> all = {x, weights.up, weights.up_bias, weights.down, weights.down_bias};
  if (epilogue.residual.defined()) all.push_back(epilogue.residual);
  const bool records = at::GradMode::is_enabled() && std::any_of(all.begin(), all.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  const bool fast = x.dim() == 2 && std::all_of(all.begin(), all.end(), is_fast);
  if (!records || !fast || activation != "relu") {
    const at::Tensor before = linear(x, weights.up, weights.up_bias);
    const at::Tensor hidden = activation == "gelu" ? at::gelu(before) : at::relu(before);
    return linear(dropout(hidden, probability, stream), weights.down, weights.down_bias, epilogue);
  }
  const kernel::DropoutMask mask = next_mask(stream, probability), epilogue_mask = next_mask(epilogue.stream, epilogue.probability);
  return FeedForwardFunction::apply(x, weights.up, weights.up_bias, weights.down, weights.down_bias, mask, optional(epilogue.residual),
                                    epilogue_mask);
}

}  // namespace seqmill::tensor
