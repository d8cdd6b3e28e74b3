#include "nn/parameters.h"

#include <algorithm>

#include "base/error.h"
#include "base/rng.h"

namespace seqmill::nn {

Init Init::xavier(int64_t inputs, int64_t outputs) {
  return {kUniform, std::sqrt(6.0 / static_cast<double>(inputs + outputs))};
}

namespace {

void draw(Init init, Rng rng, const at::Tensor& value) {
  auto* data = value.data_ptr<float>();
  for (int64_t i = 0; i < value.numel(); ++i) {
    const double number = init.kind == Init::kUniform  ? init.scale * (2 * rng.uniform() - 1)
                          : init.kind == Init::kNormal ? init.scale * rng.normal()
                                                       : init.scale;
    data[i] = static_cast<float>(number);
  }
}

}  // namespace

at::Tensor Parameters::add(const std::string& name, std::vector<int64_t> shape, Init init, bool decays, Rows rows) {
  for (const Parameter& known : all_) {
    if (known.name == name) fail("parameter {} is declared twice", name);
  }
  at::Tensor value = at::empty(shape, at::kFloat);
  if (seed_) draw(init, Rng(*seed_, "init/" + name), value);
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
  at::NoGradGuard no_grad;
  const at::Tensor values = at::empty({count()}, all_.front().value.options().requires_grad(false));
  int64_t offset = 0;
  for (const Parameter& parameter : all_) {
    const int64_t size = parameter.value.numel();
    values.narrow(0, offset, size).view(parameter.value.sizes()).copy_(parameter.value);
    offset += size;
  }
  place_in(values);
}

void Parameters::share(const Parameters& other) {
  const auto alike = [](const Parameter& a, const Parameter& b) { return a.name == b.name && a.value.sizes() == b.value.sizes(); };
  if (!std::equal(all_.begin(), all_.end(), other.all_.begin(), other.all_.end(), alike)) fail("models that share their weights differ in them");
  if (!other.flat_values_.defined()) fail("weights are flattened before they are shared");
  place_in(other.flat_values_);
  for (size_t i = 0; i < all_.size(); ++i) all_[i].value.set_requires_grad(other.all_[i].value.requires_grad());
}

void Parameters::place_in(const at::Tensor& values) {
  flat_values_ = values;
  int64_t offset = 0;
  for (Parameter& parameter : all_) {
    const int64_t size = parameter.value.numel();
    parameter.value.set_data(flat_values_.narrow(0, offset, size).view(parameter.value.sizes()));
    offset += size;
  }
  // Not before: what the values took until now is free for it.
  flat_gradients_ = at::zeros_like(flat_values_);
  offset = 0;
  for (Parameter& parameter : all_) {
    const int64_t size = parameter.value.numel();
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
