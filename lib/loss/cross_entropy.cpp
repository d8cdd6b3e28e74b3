#include "loss/cross_entropy.h"

#include <algorithm>

#include "base/error.h"
#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"
#include "kernel/gemm.h"
#include "tensor/autograd.h"
#include "tensor/bfloat16.h"
#include "tensor/linear.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::loss {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// So many logits are held in float32 at a time, of at least so many rows: products of fewer rows spend their time on reading the weights.
constexpr int64_t kSliceNumbers = int64_t{12} << 20, kLeastRows = 8 * kernel::kInvariantRows;

int64_t slice_rows(int64_t tokens, int64_t vocabulary) {
  return tensor::even_slices(tokens, std::max(kLeastRows, kSliceNumbers / std::max<int64_t>(1, vocabulary)), kernel::kInvariantRows);
}

struct Sums {
  double loss = 0, nll = 0;
};

/// Runs over the tokens in slices of logits. With `gradient`, what it receives is d loss / d logits of all tokens, as factors; with `each`, -log p(target) of each.
Sums run(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target, double smoothing,
         at::Tensor* gradient, float* each = nullptr) {
  const Timed timed(Work::kLoss);
  const int64_t tokens = hidden.size(0), dim = hidden.size(1), vocabulary = weight.size(0);
  const int64_t slice_size = slice_rows(tokens, vocabulary);
  const bool in_bfloat16 = gradient && gradient->scalar_type() == at::kBFloat16;
  // float32 factors are where the logits are made; bfloat16 ones are rounded from a slice that is used again and again.
  at::Tensor slice;
  if (!gradient || in_bfloat16) slice = at::empty({std::min(tokens, slice_size), vocabulary}, hidden.options().dtype(at::kFloat).requires_grad(false));
  std::vector<float> losses(static_cast<size_t>(slice_size)), nlls(static_cast<size_t>(slice_size));
  const int64_t* wanted = target.data_ptr<int64_t>();
  const float* bias_numbers = bias.defined() ? bias.data_ptr<float>() : nullptr;
  Sums sums;
  for (int64_t first = 0; first < tokens; first += slice_size) {
    const int64_t rows = std::min(slice_size, tokens - first);
    float* logits = slice.defined() ? slice.data_ptr<float>() : gradient->data_ptr<float>() + first * vocabulary;
    tensor::product(rows, vocabulary, dim, {hidden, dim, first}, {weight, dim, 0, true}, 0, logits);
    auto* rounded = in_bfloat16 ? tensor::mutable_numbers(*gradient) + first * vocabulary : nullptr;
    parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const auto at = static_cast<size_t>(r);
        float* row = logits + r * vocabulary;
        losses[at] = kernel::float_kernels().cross_entropy(row, bias_numbers, vocabulary, wanted[first + r],
                                                           static_cast<float>(smoothing), gradient != nullptr, &nlls[at]);
        if (in_bfloat16) kernel::float_kernels().to_bfloat16(row, rounded + r * vocabulary, vocabulary);
      }
    });
    for (int64_t r = 0; r < rows; ++r) {
      sums.loss += losses[static_cast<size_t>(r)];
      sums.nll += nlls[static_cast<size_t>(r)];
    }
    if (each) std::copy(nlls.begin(), nlls.begin() + rows, each + first);
  }
  return sums;
}

struct CrossEntropyFunction : torch::autograd::Function<CrossEntropyFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias, const at::Tensor& target, double smoothing,
                            double* nll) {
    const at::Tensor hidden_factor = tensor::as_factor(hidden), weight_factor = tensor::as_factor(weight);
    at::Tensor upper = at::empty({hidden.size(0), weight.size(0)}, hidden_factor.options().requires_grad(false));
    const Sums sums = run(hidden_factor, weight_factor, bias.value_or(at::Tensor()), target, smoothing, &upper);
    context->save_for_backward({hidden_factor, weight_factor, upper});
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["weight-gradient"] = tensor::gradient_in_place(weight);
    context->saved_data["bias-gradient"] = tensor::gradient_in_place(bias.value_or(at::Tensor()));
    *nll = sums.nll;
    return at::scalar_tensor(sums.loss, at::kDouble).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1];
    const double scale = grads[0].item<double>();
    const at::Tensor upper = scale == 1 ? saved[2] : saved[2] * scale;
    const int64_t tokens = hidden.size(0), dim = hidden.size(1), vocabulary = weight.size(0);
    const at::TensorOptions options = hidden.options().dtype(at::kFloat).requires_grad(false);
    const tensor::GradientOf grad_hidden({}, context->needs_input_grad(0), {tokens, dim}, options);
    const tensor::GradientOf grad_weight(context->saved_data["weight-gradient"].toTensor(), context->needs_input_grad(1),
                                         {vocabulary, dim}, options);
    tensor::GradientOf grad_bias(context->saved_data["bias-gradient"].toTensor(),
                                 context->saved_data["bias"].toBool() && context->needs_input_grad(2), {vocabulary}, options);
    if (grad_hidden.wanted()) tensor::product(tokens, dim, vocabulary, {upper, vocabulary}, {weight, dim}, 0, grad_hidden.data());
    if (grad_weight.wanted()) {
      tensor::product(vocabulary, dim, tokens, {upper, vocabulary, 0, true}, {hidden, dim}, grad_weight.beta(), grad_weight.data());
    }
    if (grad_bias.wanted()) {
      const Timed timed(Work::kLoss);
      grad_bias.clear();
      tensor::add_column_sums(upper, grad_bias.data());
    }
    return {grad_hidden.result(), grad_weight.result(), grad_bias.result(), {}, {}, {}};
  }
};

struct TokenLogprobsFunction : torch::autograd::Function<TokenLogprobsFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const c10::optional<at::Tensor>& bias,
                            const at::Tensor& target) {
    const at::Tensor hidden_factor = tensor::as_factor(hidden), weight_factor = tensor::as_factor(weight);
    at::Tensor upper = at::empty({hidden.size(0), weight.size(0)}, hidden_factor.options().requires_grad(false));
    at::Tensor nll = at::empty({hidden.size(0)}, hidden.options().requires_grad(false));
    run(hidden_factor, weight_factor, bias.value_or(at::Tensor()), target, 0, &upper, nll.data_ptr<float>());
    context->save_for_backward({hidden_factor, weight_factor, upper});
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["weight-gradient"] = tensor::gradient_in_place(weight);
    context->saved_data["bias-gradient"] = tensor::gradient_in_place(bias.value_or(at::Tensor()));
    return nll.neg_();
  }

  /// The gradient of the logits, row t of `upper` times what token t is worth, is never made: rows of the other factor, or of the product, are scaled instead.
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1], &upper = saved[2];
    const at::Tensor worth = grads[0].neg().contiguous().unsqueeze(1);
    const int64_t tokens = hidden.size(0), dim = hidden.size(1), vocabulary = weight.size(0);
    const at::TensorOptions options = hidden.options().dtype(at::kFloat).requires_grad(false);
    const tensor::GradientOf grad_hidden({}, context->needs_input_grad(0), {tokens, dim}, options);
    const tensor::GradientOf grad_weight(context->saved_data["weight-gradient"].toTensor(), context->needs_input_grad(1), {vocabulary, dim}, options);
    const tensor::GradientOf grad_bias(context->saved_data["bias-gradient"].toTensor(), context->saved_data["bias"].toBool() && context->needs_input_grad(2),
                                       {vocabulary}, options);
    if (grad_hidden.wanted()) {
      tensor::product(tokens, dim, vocabulary, {upper, vocabulary}, {weight, dim}, 0, grad_hidden.data());
      at::Tensor(grad_hidden.result()).mul_(worth);
    }
    if (grad_weight.wanted()) {
      const at::Tensor scaled = tensor::as_factor(hidden.to(at::kFloat) * worth);
      tensor::product(vocabulary, dim, tokens, {upper, vocabulary, 0, true}, {scaled, dim}, grad_weight.beta(), grad_weight.data());
    }
    if (grad_bias.wanted()) {
      tensor::product(vocabulary, 1, tokens, {upper, vocabulary, 0, true}, {tensor::as_factor(worth), 1}, grad_bias.beta(), grad_bias.data());
    }
    return {grad_hidden.result(), grad_weight.result(), grad_bias.result(), {}};
  }
};

bool is_fast(const at::Tensor& hidden, const at::Tensor& weight) {
  return tensor::is_fast(hidden) && tensor::is_fast(weight) && hidden.size(0) > 0;
}

void check_targets(const at::Tensor& target, int64_t rows, int64_t vocabulary) {
  const bool fits = target.dim() == 1 && target.size(0) == rows && target.scalar_type() == at::kLong && target.is_contiguous();
  if (!fits) fail("the loss needs one int64 target for each of {} rows", rows);
  const int64_t* ids = target.data_ptr<int64_t>();
  for (int64_t i = 0; i < rows; ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) fail("target {} is outside the vocabulary of {}", ids[i], vocabulary);
  }
}

/// log p(target) through LibTorch.
at::Tensor general_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target) {
  return at::log_softmax(tensor::linear(hidden, weight, bias), -1).gather(1, target.unsqueeze(1)).squeeze(1);
}

TokenLoss general(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target,
                  double smoothing) {
  const at::Tensor log_probs = at::log_softmax(tensor::linear(hidden, weight, bias), -1);
  const at::Tensor nll = -log_probs.gather(1, target.unsqueeze(1)).sum();
  return {nll * (1 - smoothing) - log_probs.mean(1).sum() * smoothing, nll.item<double>()};
}

}  // namespace

TokenLoss label_smoothed_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias,
                                       const at::Tensor& target, double smoothing) {
  if (!is_fast(hidden, weight) || (bias.defined() && !tensor::is_fast(bias))) {
    return general(hidden, weight, bias, target, smoothing);
  }
  check_targets(target, hidden.size(0), weight.size(0));
  TokenLoss out;
  if (at::GradMode::is_enabled()) {
    out.sum = CrossEntropyFunction::apply(hidden, weight, tensor::optional(bias), target,
                                          smoothing, &out.nll_sum);
    return out;
  }
  const Sums sums = run(hidden, weight, bias, target, smoothing, nullptr);
  return {at::scalar_tensor(sums.loss, at::kDouble), sums.nll};
}

at::Tensor token_nll(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target) {
  at::NoGradGuard no_grad;
  if (!is_fast(hidden, weight) || (bias.defined() && !tensor::is_fast(bias))) {
    return -general_logprobs(hidden, weight, bias, target);
  }
  check_targets(target, hidden.size(0), weight.size(0));
  at::Tensor nll = at::empty({hidden.size(0)}, hidden.options());
  const int64_t vocabulary = weight.size(0), slice_size = slice_rows(hidden.size(0), vocabulary);
  const int64_t* wanted = target.data_ptr<int64_t>();
  for (int64_t first = 0; first < hidden.size(0); first += slice_size) {
    const int64_t rows = std::min(slice_size, hidden.size(0) - first);
    const at::Tensor slice = tensor::linear(hidden.narrow(0, first, rows), weight, bias);
    float *logits = slice.data_ptr<float>(), *to = nll.data_ptr<float>() + first;
    parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        kernel::float_kernels().cross_entropy(logits + r * vocabulary, nullptr, vocabulary, wanted[first + r], 0, false, to + r);
      }
    });
  }
  return nll;
}

at::Tensor token_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target) {
  if (!at::GradMode::is_enabled()) return -token_nll(hidden, weight, bias, target);
  if (!is_fast(hidden, weight) || (bias.defined() && !tensor::is_fast(bias))) return general_logprobs(hidden, weight, bias, target);
  check_targets(target, hidden.size(0), weight.size(0));
  return TokenLogprobsFunction::apply(hidden, weight, tensor::optional(bias), target);
}

}  // namespace seqmill::loss
