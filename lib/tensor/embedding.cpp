#include "tensor/embedding.h"

#include <algorithm>

#include "base/error.h"
#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor look_up(const at::Tensor& weight, const at::Tensor& tokens, double scale) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = tokens.size(0), size = weight.size(0), dim = weight.size(1);
  at::Tensor out = at::empty({rows, dim}, weight.options().requires_grad(false));
  const float* from = weight.data_ptr<float>();
  float* to = out.data_ptr<float>();
  const auto* ids = tokens.data_ptr<int64_t>();
  for (int64_t i = 0; i < rows; ++i) {
    if (ids[i] < 0 || ids[i] >= size) fail("token {} is outside the vocabulary of {}", ids[i], size);
  }
  const auto factor = static_cast<float>(scale);
  parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, dim)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < dim; ++j) to[i * dim + j] = from[ids[i] * dim + j] * factor;
    }
  });
  return out;
}

struct EmbeddingFunction : torch::autograd::Function<EmbeddingFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weight, const at::Tensor& tokens, double scale) {
    context->save_for_backward({tokens});
    context->saved_data["scale"] = scale;
    context->saved_data["size"] = weight.size(0);
    context->saved_data["gradient"] = gradient_in_place(weight);
    return look_up(weight, tokens, scale);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const Timed timed(Work::kElementwise);
    const at::Tensor tokens = context->get_saved_variables()[0], upper = grads[0].contiguous();
    const int64_t rows = upper.size(0), dim = upper.size(1);
    GradientOf gradient(context->saved_data["gradient"].toTensor(), true, {context->saved_data["size"].toInt(), dim}, upper.options());
    gradient.clear();
    const auto scale = static_cast<float>(context->saved_data["scale"].toDouble());
    const auto* ids = tokens.data_ptr<int64_t>();
    const float* from = upper.data_ptr<float>();
    float* to = gradient.data();
    // Each thread takes columns of all rows: a token that occurs twice is added in the same order whatever the number of threads.
    parallel_for(dim, 32, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < rows; ++i) {
        kernel::float_kernels().add_scaled(from + i * dim + begin, scale, to + ids[i] * dim + begin, end - begin);
      }
    });
    return {gradient.result(), {}, {}};
  }
};

}  // namespace

at::Tensor embed(const at::Tensor& weight, const at::Tensor& tokens, double scale) {
  const bool fast = is_fast(weight) && tokens.dim() == 1 && tokens.is_contiguous() && tokens.scalar_type() == at::kLong;
  if (!fast) return at::embedding(weight, tokens) * scale;
  if (!at::GradMode::is_enabled() || !weight.requires_grad()) return look_up(weight, tokens, scale);
  return EmbeddingFunction::apply(weight, tokens, scale);
}

}  // namespace seqmill::tensor
