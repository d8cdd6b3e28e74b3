#include "loss/cross_entropy.h"

#include "base/error.h"
#include "base/threads.h"
#include "kernel/float_kernels.h"
#include "kernel/gemm.h"
#include "tensor/bfloat16.h"
#include "tensor/linear.h"
#include "tensor/runtime.h"

namespace seqmill::loss {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kSliceRows = 16 * kernel::kInvariantRows;

struct Slices {
  double loss = 0, nll = 0;
  at::Tensor grad_hidden, grad_weight, grad_bias;
};

/// The products of a slice, with factors in float32 or bfloat16.
class Products {
 public:
  Products(const at::Tensor& hidden, const at::Tensor& weight, bool small)
      : dim_(hidden.size(1)), vocabulary_(weight.size(0)), small_(small), hidden_(small ? tensor::to_bfloat16(hidden) : hidden),
        weight_(small ? tensor::to_bfloat16(weight) : weight) {}

  /// logits = rows of hidden from `first` times weight^T, added to what is there when `adds`.
  void logits(int64_t first, int64_t rows, bool adds, const at::Tensor& logits) const {
    call([&](auto number) {
      using Number = decltype(number);
      kernel::gemm(false, true, rows, vocabulary_, dim_, tensor::numbers<Number>(hidden_) + first * dim_, dim_,
                   tensor::numbers<Number>(weight_), dim_, adds ? 1.0f : 0.0f, logits.data_ptr<float>(), vocabulary_);
    });
  }

  /// The gradients of the slice's hidden rows, and that of the weight added up from the first slice on.
  void gradients(int64_t first, int64_t rows, const at::Tensor& grad_logits, const Slices& out) const {
    const at::Tensor upper = small_ ? tensor::to_bfloat16(grad_logits.narrow(0, 0, rows)) : grad_logits;
    call([&](auto number) {
      using Number = decltype(number);
      const auto* from = tensor::numbers<Number>(upper);
      kernel::gemm(false, false, rows, dim_, vocabulary_, from, vocabulary_, tensor::numbers<Number>(weight_), dim_, 0,
                   out.grad_hidden.data_ptr<float>() + first * dim_, dim_);
      kernel::gemm(true, false, vocabulary_, dim_, rows, from, vocabulary_, tensor::numbers<Number>(hidden_) + first * dim_, dim_,
                   first ? 1.0f : 0.0f, out.grad_weight.data_ptr<float>(), dim_);
    });
  }

 private:
  template <typename Work>
  void call(Work work) const {
    if (small_) {
      work(kernel::BFloat16{});
    } else {
      work(0.0f);
    }
  }

  int64_t dim_, vocabulary_;
  bool small_;
  at::Tensor hidden_, weight_;
};

/// Runs over the tokens in slices: logits, loss and, when asked, all gradients of the summed loss.
Slices run(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target,
           double smoothing, bool gradient) {
  const int64_t tokens = hidden.size(0), vocabulary = weight.size(0);
  Slices out;
  if (gradient) {
    out.grad_hidden = at::empty_like(hidden);
    out.grad_weight = at::empty_like(weight);
    if (bias.defined()) out.grad_bias = at::zeros_like(bias);
  }
  const Products products(hidden, weight, gradient && tensor::precision() == tensor::Precision::kBFloat16);
  at::Tensor slice = at::empty({std::min(tokens, kSliceRows), vocabulary}, hidden.options());
  std::vector<float> losses(static_cast<size_t>(kSliceRows)), nlls(static_cast<size_t>(kSliceRows));
  const int64_t* wanted = target.data_ptr<int64_t>();
  float* logits = slice.data_ptr<float>();
  for (int64_t first = 0; first < tokens; first += kSliceRows) {
    const int64_t rows = std::min(kSliceRows, tokens - first);
    if (bias.defined()) kernel::float_kernels().fill_rows(bias.data_ptr<float>(), logits, rows, vocabulary);
    products.logits(first, rows, bias.defined(), slice);
    parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const auto at = static_cast<size_t>(r);
        losses[at] = kernel::float_kernels().cross_entropy(logits + r * vocabulary, vocabulary, wanted[first + r],
                                                           static_cast<float>(smoothing), gradient, &nlls[at]);
      }
    });
    for (int64_t r = 0; r < rows; ++r) {
      out.loss += losses[static_cast<size_t>(r)];
      out.nll += nlls[static_cast<size_t>(r)];
    }
    if (!gradient) continue;
    products.gradients(first, rows, slice, out);
    if (bias.defined()) {
      float* sums = out.grad_bias.data_ptr<float>();
      parallel_for(vocabulary, 1024, [&](int64_t begin, int64_t end) {
        kernel::float_kernels().add_column_sums(logits + begin, vocabulary, sums + begin, rows, end - begin);
      });
    }
  }
  return out;
}

struct CrossEntropyFunction : torch::autograd::Function<CrossEntropyFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight,
                            const c10::optional<at::Tensor>& bias, const at::Tensor& target, double smoothing,
                            double* nll) {
    const Slices slices = run(hidden, weight, bias.value_or(at::Tensor()), target, smoothing, true);
    context->save_for_backward({slices.grad_hidden, slices.grad_weight, slices.grad_bias});
    *nll = slices.nll;
    return at::scalar_tensor(slices.loss, at::kDouble).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    auto saved = context->get_saved_variables();
    const double scale = grads[0].item<double>();
    // The saved gradients belong to this node alone and the graph is used once: scaled in place.
    for (at::Tensor& gradient : saved) {
      if (gradient.defined() && scale != 1) gradient.mul_(scale);
    }
    return {saved[0], saved[1], saved[2], {}, {}, {}};
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
    out.sum = CrossEntropyFunction::apply(hidden, weight, bias.defined() ? c10::make_optional(bias) : c10::nullopt, target,
                                          smoothing, &out.nll_sum);
    return out;
  }
  const Slices slices = run(hidden, weight, bias, target, smoothing, false);
  return {at::scalar_tensor(slices.loss, at::kDouble), slices.nll};
}

at::Tensor token_nll(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& target) {
  at::NoGradGuard no_grad;
  if (!is_fast(hidden, weight) || (bias.defined() && !tensor::is_fast(bias))) {
    const at::Tensor log_probs = at::log_softmax(tensor::linear(hidden, weight, bias), -1);
    return -log_probs.gather(1, target.unsqueeze(1)).squeeze(1);
  }
  check_targets(target, hidden.size(0), weight.size(0));
  at::Tensor nll = at::empty({hidden.size(0)}, hidden.options());
  const int64_t vocabulary = weight.size(0);
  const int64_t* wanted = target.data_ptr<int64_t>();
  for (int64_t first = 0; first < hidden.size(0); first += kSliceRows) {
    const int64_t rows = std::min(kSliceRows, hidden.size(0) - first);
    const at::Tensor slice = tensor::linear(hidden.narrow(0, first, rows), weight, bias);
    float *logits = slice.data_ptr<float>(), *to = nll.data_ptr<float>() + first;
    parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        kernel::float_kernels().cross_entropy(logits + r * vocabulary, vocabulary, wanted[first + r], 0, false, to + r);
      }
    });
  }
  return nll;
}

}  // namespace seqmill::loss
