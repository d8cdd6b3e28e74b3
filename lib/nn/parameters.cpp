#include "nn/parameters.h"

#include "base/error.h"
#include "base/rng.h"

namespace seqmill::nn {

Init Init::xavier(int64_t inputs, int64_t outputs) {
  return {kUniform, std::sqrt(6.0 / static_cast<double>(inputs + outputs))};
}

at::Tensor Parameters::add(const std::string& name, std::vector<int64_t> shape, Init init, bool decays, Rows rows) {
  for (const Parameter& known : all_) {
    if (known.name == name) fail("parameter {} is declared twice", name);
  }
  at::Tensor value = at::empty(shape, at::kFloat);
  auto* data = value.data_ptr<float>();
  Rng rng(seed_, "init/" + name);
  for (int64_t i = 0; i < value.numel(); ++i) {
    const double draw = init.kind == Init::kUniform  ? init.scale * (2 * rng.uniform() - 1)
                        : init.kind == Init::kNormal ? init.scale * rng.normal()
                                                     : init.scale;
    data[i] = static_cast<float>(draw);
  }
  value.set_requires_grad(true);
  all_.push_back({name, value, decays, rows});
  return value;
}

int64_t Parameters::count() const {
  int64_t count = 0;
  for (const Parameter& parameter : all_) count += parameter.value.numel();
  return count;
}

void Parameters::flatten() {
  const at::TensorOptions options = all_.front().value.options().requires_grad(false);
  flat_values_ = at::empty({count()}, options);
  flat_gradients_ = at::zeros({count()}, options);
  at::NoGradGuard no_grad;
  int64_t offset = 0;
  for (Parameter& parameter : all_) {
    const int64_t size = parameter.value.numel();
    at::Tensor place = flat_values_.narrow(0, offset, size).view(parameter.value.sizes());
    place.copy_(parameter.value);
    parameter.value.set_data(place);
    parameter.value.mutable_grad() = flat_gradients_.narrow(0, offset, size).view(parameter.value.sizes());
    offset += size;
  }
}

void Parameters::to(at::Device device, at::ScalarType type) {
  if (flat_values_.defined()) fail("parameters are moved to a device before they are flattened, not after");
  at::NoGradGuard no_grad;
  for (Parameter& parameter : all_) parameter.value.set_data(parameter.value.detach().to(device, type));
}

at::Tensor Scope::matrix(const std::string& name, int64_t rows, int64_t columns, Rows kind) const {
  return parameters_->add(prefix_ + name, {rows, columns}, Init::xavier(columns, rows), true, kind);
}

at::Tensor Scope::parameter(const std::string& name, std::vector<int64_t> shape, Init init, Rows kind) const {
  return parameters_->add(prefix_ + name, std::move(shape), init, false, kind);
}

}  // namespace seqmill::nn
