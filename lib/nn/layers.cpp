#include "nn/layers.h"

#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "tensor/embedding.h"
#include "tensor/feed_forward.h"
#include "tensor/linear.h"
#include "tensor/rotary.h"
#include "tensor/runtime.h"

namespace seqmill::nn {
namespace {

constexpr int64_t kKeptSinusoids = 1024;

}  // namespace

Linear::Linear(const Scope& scope, int64_t inputs, int64_t outputs, bool with_bias)
    : weight(scope.matrix("weight", outputs, inputs)) {
  if (with_bias) bias = scope.parameter("bias", {outputs}, Init::constant(0));
}

Linear::Linear(const Scope& scope, const std::vector<Part>& parts, int64_t inputs, bool with_bias, Init init, const LoraSettings& lora) {
  std::vector<Part> weights, biases;
  std::string name;
  for (const Part& part : parts) {
    weights.push_back({part.name + ".weight", part.rows});
    biases.push_back({part.name + ".bias", part.rows});
    name += (name.empty() ? "" : "+") + part.name;
  }
  weight = scope.joined(name + ".weight", weights, inputs, init);
  if (with_bias) bias = scope.joined_vector(name + ".bias", biases, Init::constant(0));
  int64_t first = 0;
  for (const Part& part : parts) {
    const bool chosen = std::find(lora.targets.begin(), lora.targets.end(), part.name) != lora.targets.end();
    if (lora.rank > 0 && chosen) {
      const Scope own = scope / part.name;
      // As its authors: A random, B zeros, so that training begins with what the model was.
      const Init begin = Init::normal(1 / std::sqrt(static_cast<double>(inputs)));
      adapters.push_back({first, lora.alpha / static_cast<double>(lora.rank), (own / "lora_a").matrix("weight", lora.rank, inputs, begin),
                          (own / "lora_b").matrix("weight", part.rows, lora.rank, Init::constant(0))});
    }
    first += part.rows;
  }
}

at::Tensor Linear::operator()(const at::Tensor& x, const tensor::Epilogue& epilogue) const {
  if (adapters.empty()) return tensor::linear(x, weight, bias, epilogue);
  const at::Tensor base = tensor::linear(x, weight, bias);
  std::vector<at::Tensor> columns;
  int64_t next = 0;
  const auto leave_out = [&](int64_t until) {
    if (until > next) columns.push_back(at::zeros({x.size(0), until - next}, base.options().requires_grad(false)));
  };
  for (const Adapter& adapter : adapters) {
    leave_out(adapter.first_output);
    columns.push_back(tensor::linear(tensor::linear(x, adapter.a), adapter.b) * adapter.scale);
    next = adapter.first_output + adapter.b.size(0);
  }
  leave_out(weight.size(0));
  const at::Tensor change = columns.size() == 1 ? columns[0] : at::cat(columns, 1);
  return tensor::dropout(base + change, epilogue);
}

LayerNorm::LayerNorm(const Scope& scope, int64_t dim, tensor::NormSettings settings)
    : weight(scope.parameter("weight", {dim}, Init::constant(1))), settings(settings) {
  if (settings.kind != tensor::NormKind::kRms) bias = scope.parameter("bias", {dim}, Init::constant(0));
}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const { return tensor::layer_norm(x, weight, bias, settings); }

tensor::Normed LayerNorm::with_residual(const at::Tensor& x) const { return tensor::layer_norm_with_residual(x, weight, bias, settings); }

tensor::Polynomial polynomial(const Scope& scope, const PolynomialStart& start, int64_t heads) {
  if (start.degree == 0) return {};
  const Scope own = scope / "polynomial";
  return {start.degree, own.parameter("bias", {heads}, Init::constant(start.bias)), own.parameter("delta", {heads}, Init::constant(start.delta))};
}

Embedding::Embedding(const Scope& scope, int64_t size, int64_t dim, Rows rows)
    : weight(scope.parameter("weight", {size, dim}, Init::normal(1.0 / std::sqrt(static_cast<double>(dim))), rows)) {}

at::Tensor Embedding::operator()(const at::Tensor& tokens) const {
  return tensor::embed(weight, tokens, std::sqrt(static_cast<double>(weight.size(1))));
}

struct Rotary::Table {
  std::vector<float> frequencies;
  std::mutex mutex;
  at::Tensor angles;  ///< tensor::rotary_table
};

Rotary::Rotary(std::vector<float> frequencies) : table_(std::make_shared<Table>()) { table_->frequencies = std::move(frequencies); }

at::Tensor Rotary::turn(const at::Tensor& x, const at::Tensor& positions, int64_t heads) const {
  if (x.size(0) == 0) return x;
  at::Tensor angles;
  {
    const std::lock_guard<std::mutex> lock(table_->mutex);
    const int64_t needed = positions.max().item<int64_t>() + 1, known = table_->angles.defined() ? table_->angles.size(0) : 0;
    if (needed > known) table_->angles = tensor::rotary_table(table_->frequencies, std::max(needed, std::max(2 * known, kKeptSinusoids)));
    angles = table_->angles;
  }
  return tensor::rotate(x, positions, angles, heads);
}

Positions::Positions(const Scope& scope, const std::string& kind, int64_t dim, int64_t max_length)
    : kind_(kind), dim_(dim), max_length_(max_length) {
  if (kind == "learned") table_ = scope.parameter("weight", {max_length, dim}, Init::normal(0.02));
  if (kind == "sinusoidal") table_ = sinusoids(at::arange(kKeptSinusoids, at::kLong), at::kFloat);
}

at::Tensor Positions::sinusoids(const at::Tensor& positions, at::TensorOptions options) const {
  const int64_t half = dim_ / 2;
  const at::Tensor frequency = at::exp(at::arange(half, options) * (-std::log(10000.0) / static_cast<double>(half)));
  const at::Tensor angle = positions.to(options.dtype()).unsqueeze(1) * frequency;
  return at::cat({at::sin(angle), at::cos(angle)}, 1);
}

at::Tensor Positions::add_to(const at::Tensor& x, const at::Tensor& positions) const {
  if (kind_ == "rotary") return x;
  if (kind_ == "learned") {
    if (positions.numel() > 0 && positions.max().item<int64_t>() >= max_length_) {
      fail("a sequence is longer than the {} learned positions of the model (model.max-positions)", max_length_);
    }
    return x + tensor::embed(table_, positions, 1);
  }
  const bool kept = tensor::is_fast(x) && (positions.numel() == 0 || positions.max().item<int64_t>() < kKeptSinusoids);
  return x + (kept ? table_.index_select(0, positions) : sinusoids(positions, x.options().requires_grad(false)));
}

namespace {

std::vector<Part> hidden_parts(const std::string& activation, int64_t hidden) {
  if (activation == "swiglu") return {{"gate_proj", hidden}, {"up_proj", hidden}};
  return {{"up_proj", hidden}};
}

}  // namespace

Mlp::Mlp(const Scope& scope, int64_t dim, int64_t hidden, std::string activation, Init inner, Init outer, const LoraSettings& lora)
    : up(scope, hidden_parts(activation, hidden), dim, false, inner, lora),
      down(scope, {{"down_proj", dim}}, hidden, false, outer, lora),
      activation(std::move(activation)) {}

at::Tensor Mlp::operator()(const at::Tensor& x, double dropout, tensor::DropoutStream* stream, const tensor::Epilogue& epilogue) const {
  const bool gated = activation == "swiglu";
  if (!up.adapted() && !down.adapted()) {
    if (gated) return tensor::gated_feed_forward(x, up.weight, down.weight, dropout, stream, epilogue);
    return tensor::feed_forward(x, {up.weight, {}, down.weight, {}}, activation, dropout, stream, epilogue);
  }
  const at::Tensor before = up(x);
  const at::Tensor hidden = gated ? tensor::swiglu(before) : activation == "gelu" ? at::gelu(before) : at::relu(before);
  return down(tensor::dropout(hidden, dropout, stream), epilogue);
}

FeedForward::FeedForward(const Scope& scope, int64_t dim, int64_t hidden, std::string activation)
    : up(scope / "up", dim, hidden), down(scope / "down", hidden, dim), activation(std::move(activation)) {}

at::Tensor FeedForward::operator()(const at::Tensor& x, double dropout, tensor::DropoutStream* stream, const tensor::Epilogue& epilogue) const {
  return tensor::feed_forward(x, {up.weight, up.bias, down.weight, down.bias}, activation, dropout, stream, epilogue);
}

Residual::Residual(const Scope& scope, int64_t dim, bool pre_norm, double dropout, tensor::NormSettings settings, const std::string& name)
    : norm(scope / name, dim, settings), pre_norm(pre_norm), dropout(dropout) {}

}  // namespace seqmill::nn
