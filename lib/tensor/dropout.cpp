#include "tensor/dropout.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>

#include "base/error.h"
#include "base/threads.h"
#include "base/time_spent.h"
#include "tensor/autograd.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kGrain = 1 << 15;

struct DropoutFunction : torch::autograd::Function<DropoutFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const c10::optional<at::Tensor>& residual,
                            kernel::DropoutMask mask) {
    save_mask(context, "mask", mask);
    context->saved_data["residual"] = residual.has_value();
    return dropout_fast(x, mask, residual.value_or(at::Tensor()));
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::Tensor upper = grads[0].contiguous();
    // The residual passes its gradient on as it is; without one there is no second edge to ask about.
    const bool has_residual = context->saved_data["residual"].toBool();
    return {dropout_fast(upper, saved_mask(context, "mask")), has_residual ? upper : at::Tensor(), {}};
  }
};

}  // namespace

at::Tensor dropout_fast(const at::Tensor& x, kernel::DropoutMask mask, const at::Tensor& residual) {
  const Timed timed(Work::kElementwise);
  at::Tensor out = at::empty_like(x);
  const float* from = x.data_ptr<float>();
  const float* base = residual.defined() ? residual.data_ptr<float>() : nullptr;
  float* to = out.data_ptr<float>();
  parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernel::float_kernels().dropout(from + begin, base ? base + begin : nullptr, to + begin, begin, end - begin, mask);
  });
  return out;
}

void check_residual(const at::Tensor& residual, at::IntArrayRef shape) {
  if (!residual.defined() || residual.sizes() == shape) return;
  fail("a residual of shape {} does not fit {}", fmt::join(residual.sizes(), " x "), fmt::join(shape, " x "));
}

at::Tensor dropout_general(const at::Tensor& x, kernel::DropoutMask mask) {
  if (x.device().is_cpu()) {
    // Several threads may be here: each draws from a generator of its own.
    const double keep = 1 - static_cast<double>(mask.probability);
    return x * at::empty_like(x).bernoulli_(keep, at::detail::createCPUGenerator(mask.key)).div_(keep);
  }
  at::Generator generator = at::globalContext().defaultGenerator(x.device());
  {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(mask.key);
  }
  return at::dropout(x, static_cast<double>(mask.probability), true);
}

at::Tensor dropout(const at::Tensor& x, double probability, DropoutStream* stream, const at::Tensor& residual) {
  check_residual(residual, x.sizes());
  const kernel::DropoutMask mask = next_mask(stream, probability);
  if (mask.probability == 0) return residual.defined() ? residual + x : x;
  if (!is_fast(x) || (residual.defined() && !is_fast(residual))) {
    const at::Tensor dropped = dropout_general(x, mask);
    return residual.defined() ? residual + dropped : dropped;
  }
  return DropoutFunction::apply(x, optional(residual), mask);
}

}  // namespace seqmill::tensor
