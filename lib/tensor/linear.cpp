#include "tensor/linear.h"

#include <cstring>

#include "base/threads.h"
#include "kernel/float_kernels.h"
#include "kernel/gemm.h"
#include "tensor/bfloat16.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 1 << 15;

int64_t row_grain(int64_t columns) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)); }

/// out [rows, out] = x [rows, in] weight^T + bias, with x and the weight both in `Number`.
template <typename Number>
void forward_into(const Number* x, const Number* weight, const at::Tensor& bias, float* out, int64_t rows, int64_t inputs,
                  int64_t outputs) {
  if (bias.defined()) {
    const float* from = bias.data_ptr<float>();
    parallel_for(rows, row_grain(outputs), [&](int64_t begin, int64_t end) {
      kernel::float_kernels().fill_rows(from, out + begin * outputs, end - begin, outputs);
    });
  }
  kernel::gemm(false, true, rows, outputs, inputs, x, inputs, weight, inputs, bias.defined() ? 1.0f : 0.0f, out, outputs);
}

at::Tensor column_sums(const at::Tensor& x) {
  const int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor sums = at::zeros({columns}, x.options());
  // Each thread takes columns, so that the order of a sum does not depend on their number.
  const float* from = x.data_ptr<float>();
  float* to = sums.data_ptr<float>();
  parallel_for(columns, std::max<int64_t>(64, kGrain / std::max<int64_t>(1, rows)), [&](int64_t begin, int64_t end) {
    kernel::float_kernels().add_column_sums(from + begin, columns, to + begin, rows, end - begin);
  });
  return sums;
}

/// The gradients of x and weight that are wanted, from all three matrices in `Number`.
template <typename Number>
void backward_into(const Number* x, const Number* weight, const Number* upper, int64_t rows, int64_t inputs, int64_t outputs,
                   float* grad_x, float* grad_weight) {
  if (grad_x) kernel::gemm(false, false, rows, inputs, outputs, upper, outputs, weight, inputs, 0, grad_x, inputs);
  if (grad_weight) kernel::gemm(true, false, outputs, inputs, rows, upper, outputs, x, inputs, 0, grad_weight, inputs);
}

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias) {
    context->saved_data["bias"] = bias.has_value();
    at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options());
    float* to = out.data_ptr<float>();
    const int64_t rows = x.size(0), outputs = weight.size(0), inputs = weight.size(1);
    if (precision() == Precision::kBFloat16) {
      // The copies serve the backward pass too.
      const at::Tensor small_x = to_bfloat16(x), small_weight = to_bfloat16(weight);
      context->save_for_backward({small_x, small_weight});
      forward_into(numbers<kernel::BFloat16>(small_x), numbers<kernel::BFloat16>(small_weight), bias.value_or(at::Tensor()), to,
                   rows, inputs, outputs);
    } else {
      context->save_for_backward({x, weight});
      forward_into(numbers<float>(x), numbers<float>(weight), bias.value_or(at::Tensor()), to, rows, inputs, outputs);
    }
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor upper = grads[0].contiguous();
    const int64_t rows = x.size(0), outputs = weight.size(0), inputs = weight.size(1);
    at::Tensor grad_x, grad_weight, grad_bias;
    if (context->needs_input_grad(0)) grad_x = at::empty({rows, inputs}, upper.options());
    if (context->needs_input_grad(1)) grad_weight = at::empty({outputs, inputs}, upper.options());
    float* to_x = grad_x.defined() ? grad_x.data_ptr<float>() : nullptr;
    float* to_weight = grad_weight.defined() ? grad_weight.data_ptr<float>() : nullptr;
    if (x.scalar_type() == at::kBFloat16) {
      const at::Tensor small_upper = to_bfloat16(upper);
      backward_into(numbers<kernel::BFloat16>(x), numbers<kernel::BFloat16>(weight), numbers<kernel::BFloat16>(small_upper), rows,
                    inputs, outputs, to_x, to_weight);
    } else {
      backward_into(numbers<float>(x), numbers<float>(weight), numbers<float>(upper), rows, inputs, outputs, to_x, to_weight);
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
  forward_into(from, numbers<float>(weight), bias, out.data_ptr<float>(), padded, inputs, weight.size(0));
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
