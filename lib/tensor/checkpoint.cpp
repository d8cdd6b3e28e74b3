#include "tensor/checkpoint.h"

#include <torch/csrc/autograd/autograd.h>

#include <optional>

#include "tensor/autograd.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Call : torch::CustomClassHolder {
  std::function<at::Tensor(const at::Tensor&, DropoutStream*)> function;
  std::optional<DropoutStream> stream;  ///< as it was before
};

struct CheckpointFunction : torch::autograd::Function<CheckpointFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const c10::intrusive_ptr<Call>& call, DropoutStream* stream) {
    context->save_for_backward({x});
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    // As in training, whose products may be rounded in another way than those without gradients; the graph is dropped at once.
    at::AutoGradMode enabled(true);
    return call->function(x.detach().requires_grad_(true), stream).detach();
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto capsule = context->saved_data["call"].toCapsule();
    const Call& call = *static_cast<const Call*>(capsule.get());
    const at::Tensor x = context->get_saved_variables()[0].detach().requires_grad_(true);
    std::optional<DropoutStream> stream = call.stream;
    at::AutoGradMode enabled(true);
    const at::Tensor out = call.function(x, stream ? &*stream : nullptr);
    torch::autograd::backward({out}, {grads[0]});
    return {x.grad(), {}, {}};
  }
};

}  // namespace

at::Tensor checkpoint(std::function<at::Tensor(const at::Tensor&, DropoutStream*)> function, const at::Tensor& x, DropoutStream* stream) {
  if (!at::GradMode::is_enabled()) return function(x, stream);
  auto call = c10::make_intrusive<Call>();
  call->function = std::move(function);
  if (stream) call->stream = *stream;
  return CheckpointFunction::apply(x, call, stream);
}

}  // namespace seqmill::tensor
