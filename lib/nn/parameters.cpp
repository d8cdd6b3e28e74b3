#include "nn/parameters.h"

#include <algorithm>

#include "base/error.h"
#include "base/rng.h"
#include "base/threads.h"

namespace seqmill::nn {

Init Init::xavier(int64_t inputs, int64_t outputs) {
  return {kUniform, std::sqrt(6.0 / static_cast<double>(inputs + outputs))};
}

namespace {

void draw(Init init, const Rng& stream, const at::Tensor& value) {
  auto* data = value.data_ptr<float>();
  const uint64_t taken = init.kind == Init::kNormal ? 2 : 1;  // numbers of the stream for each value
  parallel_for(value.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    Rng rng = stream;
    rng.set_counter(taken * static_cast<uint64_t>(begin));
    for (int64_t i = begin; i < end; ++i) {
      const double number = init.kind == Init::kUniform  ? init.scale * (2 * rng.uniform() - 1)
                            : init.kind == Init::kNormal ? init.scale * rng.normal()
                                                         : init.scale;
      data[i] = static_cast<float>(number);
    }
  });
}

}  // namespace

at::Tensor Parameters::add(const std::string& name, std::vector<int64_t> shape, Init init, bool decays, Rows rows) {
  const at::Tensor value = make(name, shape);
  if (seed_) draw(init, Rng(*seed_, "init/" + name), value);
  value.set_requires_grad(true);
  all_.push_back({name, value, decays, rows, {}});
  return value;
}

at::Tensor Parameters::add_joined(const std::string& name, std::vector<Part> parts, std::vector<int64_t> shape, Init init, bool decays) {
  const at::Tensor value = make(name, shape);
  int64_t row = 0;
  for (const Part& part : parts) {
    if (seed_) draw(init, Rng(*seed_, "init/" + part.name), value.narrow(0, row, part.rows));
    row += part.rows;
  }
  if (row != shape.at(0)) fail("the parts of {} have {} rows, it has {}", name, row, shape.at(0));
  value.set_requires_grad(true);
  all_.push_back({name, value, decays, Rows::kOther, std::move(parts)});
  return value;
}

at::Tensor Parameters::make(const std::string& name, const std::vector<int64_t>& shape) const {
  for (const Parameter& known : all_) {
    if (known.name == name) fail("parameter {} is declared twice", name);
  }
  return at::empty(shape, at::kFloat);
}

int64_t Parameters::count() const {
  int64_t count = 0;
  for (const Parameter& parameter : all_) count += parameter.value.numel();
  return count;
}

namespace {

std::vector<std::pair<std::string, at::Tensor>> names_of(const std::vector<Parameter>& parameters) {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (const Parameter& parameter : parameters) {
    const at::Tensor value = parameter.value.detach();
    if (parameter.parts.empty()) named.emplace_back(parameter.name, value);
    int64_t row = 0;
    for (const Part& part : parameter.parts) {
      named.emplace_back(part.name, value.narrow(0, row, part.rows));
      row += part.rows;
    }
  }
  return named;
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> Parameters::named() const { return names_of(all_); }
std::vector<std::pair<std::string, at::Tensor>> Parameters::named_trained() const { return names_of(trained()); }

void Parameters::train_only(const std::function<bool(const std::string& name)>& chosen) {
  if (flat_values_.defined()) fail("what is trained is chosen before the parameters are flattened, not after");
  for (const Parameter& parameter : all_) parameter.value.set_requires_grad(chosen(parameter.name));
}

std::vector<Parameter> Parameters::trained() const {
  std::vector<Parameter> trained;
  for (const Parameter& parameter : all_) {
    if (parameter.value.requires_grad()) trained.push_back(parameter);
  }
  return trained;
}

std::vector<Parameter> Parameters::fixed() const {
  std::vector<Parameter> fixed;
  for (const Parameter& parameter : all_) {
    if (!parameter.value.requires_grad()) fixed.push_back(parameter);
  }
  return fixed;
}

void Parameters::flatten() {
  at::NoGradGuard no_grad;
  const std::vector<Parameter> moved = trained();
  if (moved.empty()) fail("no parameter is to be trained");
  int64_t count = 0;
  for (const Parameter& parameter : moved) count += parameter.value.numel();
  const at::Tensor values = at::empty({count}, moved.front().value.options().requires_grad(false));
  int64_t offset = 0;
  for (const Parameter& parameter : moved) {
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
  for (size_t i = 0; i < all_.size(); ++i) {
    const bool learns = other.all_[i].value.requires_grad();
    all_[i].value.set_requires_grad(learns);
    if (!learns) all_[i].value.set_data(other.all_[i].value.detach());
  }
  place_in(other.flat_values_);
}

void Parameters::place_in(const at::Tensor& values) {
  flat_values_ = values;
  std::vector<Parameter> placed = trained();
  int64_t offset = 0;
  for (Parameter& parameter : placed) {
    const int64_t size = parameter.value.numel();
    parameter.value.set_data(flat_values_.narrow(0, offset, size).view(parameter.value.sizes()));
    offset += size;
  }
  // Not before: what the values took until now is free for it.
  flat_gradients_ = at::zeros_like(flat_values_);
  offset = 0;
  for (Parameter& parameter : placed) {
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

at::Tensor Scope::matrix(const std::string& name, int64_t rows, int64_t columns, Init init, Rows kind) const {
  return parameters_->add(prefix_ + name, {rows, columns}, init, true, kind);
}

namespace {

int64_t rows_of(const std::vector<Part>& parts) {
  int64_t rows = 0;
  for (const Part& part : parts) rows += part.rows;
  return rows;
}

std::vector<Part> with_prefix(const std::string& prefix, std::vector<Part> parts) {
  for (Part& part : parts) part.name = prefix + part.name;
  return parts;
}

}  // namespace

at::Tensor Scope::joined(const std::string& name, const std::vector<Part>& parts, int64_t columns, Init init) const {
  return parameters_->add_joined(prefix_ + name, with_prefix(prefix_, parts), {rows_of(parts), columns}, init, true);
}

at::Tensor Scope::joined_vector(const std::string& name, const std::vector<Part>& parts, Init init) const {
  return parameters_->add_joined(prefix_ + name, with_prefix(prefix_, parts), {rows_of(parts)}, init, false);
}

at::Tensor Scope::parameter(const std::string& name, std::vector<int64_t> shape, Init init, Rows kind) const {
  return parameters_->add(prefix_ + name, std::move(shape), init, false, kind);
}

}  // namespace seqmill::nn
