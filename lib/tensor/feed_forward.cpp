#include "tensor/feed_forward.h"

#include <algorithm>

#include "base/threads.h"
#include "kernel/float_kernels.h"
#include "tensor/bfloat16.h"
#include "tensor/linear.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A slice of hidden units stays in the cache between the product that makes it and the passes over it.
constexpr int64_t kSliceRows = 512;

kernel::BFloat16* small_numbers(const at::Tensor& x, int64_t offset) {
  return const_cast<kernel::BFloat16*>(numbers<kernel::BFloat16>(x)) + offset;
}

/// hidden [N, H] = dropout(relu(x up^T + bias)), as factors.
at::Tensor hidden_units(const at::Tensor& x, const at::Tensor& up, const at::Tensor& bias, kernel::DropoutMask mask) {
  const int64_t rows = x.size(0), inputs = up.size(1), size = up.size(0);
  const bool small = x.scalar_type() == at::kBFloat16;
  at::Tensor hidden = at::empty({rows, size}, x.options().requires_grad(false));
  at::Tensor slice;
  if (small) slice = at::empty({std::min(rows, kSliceRows), size}, hidden.options().dtype(at::kFloat));
  for (int64_t first = 0; first < rows; first += kSliceRows) {
    const int64_t count = std::min(kSliceRows, rows - first);
    float* to = small ? slice.data_ptr<float>() : hidden.data_ptr<float>() + first * size;
    product(count, size, inputs, {x, inputs, first}, {up, inputs, 0, true}, 0, to);
    parallel_for(count, 16, [&](int64_t begin, int64_t end) {
      const int64_t offset = begin * size, numbers = (end - begin) * size;
      kernel::float_kernels().bias_relu(to + offset, bias.data_ptr<float>(), end - begin, size, first * size + offset, mask);
      if (small) kernel::float_kernels().to_bfloat16(to + offset, small_numbers(hidden, first * size + offset), numbers);
    });
  }
  return hidden;
}

/// The gradient before the activation [N, H] as factors, from that of the output; its column sums are added to `bias_sums`.
at::Tensor hidden_gradient(const at::Tensor& upper, const at::Tensor& down, const at::Tensor& hidden, float scale, float* bias_sums) {
  const int64_t rows = upper.size(0), outputs = down.size(0), size = down.size(1);
  const bool small = upper.scalar_type() == at::kBFloat16;
  at::Tensor gradient = at::empty({rows, size}, upper.options());
  at::Tensor slice;
  if (small) slice = at::empty({std::min(rows, kSliceRows), size}, upper.options().dtype(at::kFloat));
  for (int64_t first = 0; first < rows; first += kSliceRows) {
    const int64_t count = std::min(kSliceRows, rows - first);
    float* to = small ? slice.data_ptr<float>() : gradient.data_ptr<float>() + first * size;
    product(count, size, outputs, {upper, outputs, first}, {down, size}, 0, to);
    parallel_for(count, 16, [&](int64_t begin, int64_t end) {
      const int64_t offset = begin * size, at = first * size + offset, numbers = (end - begin) * size;
      if (small) {
        kernel::float_kernels().relu_backward_bfloat16(to + offset, small_numbers(hidden, at), numbers, scale);
        kernel::float_kernels().to_bfloat16(to + offset, small_numbers(gradient, at), numbers);
      } else {
        kernel::float_kernels().relu_backward(to + offset, hidden.data_ptr<float>() + at, numbers, scale);
      }
    });
    if (bias_sums) add_column_sums(to, count, size, bias_sums);
  }
  return gradient;
}

struct FeedForwardFunction : torch::autograd::Function<FeedForwardFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& up, const at::Tensor& up_bias,
                            const at::Tensor& down, const at::Tensor& down_bias, int64_t key, double probability) {
    const at::Tensor x_factor = as_factor(x), up_factor = as_factor(up), down_factor = as_factor(down);
    const at::Tensor hidden =
        hidden_units(x_factor, up_factor, up_bias, {static_cast<uint64_t>(key), static_cast<float>(probability)});
    at::Tensor out = at::empty({x.size(0), down.size(0)}, x.options());
    fill_rows(down_bias, out.data_ptr<float>(), out.size(0), out.size(1));
    product(out.size(0), out.size(1), up.size(0), {hidden, up.size(0)}, {down_factor, up.size(0), 0, true}, 1, out.data_ptr<float>());
    context->save_for_backward({x_factor, up_factor, down_factor, hidden});
    context->saved_data["scale"] = 1 / (1 - probability);
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
    const at::Tensor upper = grads[0].contiguous(), upper_factor = as_factor_like(x, upper);
    const auto gradient_of = [&](size_t input, at::IntArrayRef sizes) {
      const at::Tensor place = input == 0 ? at::Tensor() : context->saved_data[std::to_string(input)].toTensor();
      return GradientOf(place, context->needs_input_grad(input), sizes, upper.options());
    };
    const GradientOf grad_x = gradient_of(0, {rows, inputs}), grad_up = gradient_of(1, {size, inputs}),
                     grad_down = gradient_of(3, {outputs, size});
    GradientOf grad_up_bias = gradient_of(2, {size}), grad_down_bias = gradient_of(4, {outputs});
    grad_up_bias.clear();
    grad_down_bias.clear();
    if (grad_down_bias.wanted()) add_column_sums(upper.data_ptr<float>(), rows, outputs, grad_down_bias.data());
    if (grad_down.wanted()) {
      product(outputs, size, rows, {upper_factor, outputs, 0, true}, {hidden, size}, grad_down.beta(), grad_down.data());
    }
    const at::Tensor inner = hidden_gradient(upper_factor, down, hidden, static_cast<float>(context->saved_data["scale"].toDouble()),
                                             grad_up_bias.data());
    if (grad_up.wanted()) product(size, inputs, rows, {inner, size, 0, true}, {x, inputs}, grad_up.beta(), grad_up.data());
    if (grad_x.wanted()) product(rows, inputs, size, {inner, size}, {up, inputs}, 0, grad_x.data());
    return {grad_x.result(), grad_up.result(), grad_up_bias.result(), grad_down.result(), grad_down_bias.result(), {}, {}};
  }
};

}  // namespace

at::Tensor feed_forward(const at::Tensor& x, const FeedForwardWeights& weights, const std::string& activation, double probability,
                        DropoutStream* stream) {
  const auto all = {x, weights.up, weights.up_bias, weights.down, weights.down_bias};
  const bool records = at::GradMode::is_enabled() && std::any_of(all.begin(), all.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  const bool fast = x.dim() == 2 && std::all_of(all.begin(), all.end(), [](const at::Tensor& t) { return is_fast(t); });
  if (!records || !fast || activation != "relu") {
    const at::Tensor before = linear(x, weights.up, weights.up_bias);
    const at::Tensor hidden = activation == "gelu" ? at::gelu(before) : at::relu(before);
    return linear(dropout(hidden, probability, stream), weights.down, weights.down_bias);
  }
  kernel::DropoutMask mask;
  if (stream && probability > 0) mask = stream->next(probability);
  return FeedForwardFunction::apply(x, weights.up, weights.up_bias, weights.down, weights.down_bias, static_cast<int64_t>(mask.key),
                                    static_cast<double>(mask.probability));
}

}  // namespace seqmill::tensor
