#include "nn/layers.h"

#include "base/error.h"
#include "tensor/embedding.h"
#include "tensor/feed_forward.h"
#include "tensor/linear.h"
#include "tensor/runtime.h"

namespace seqmill::nn {
namespace {

constexpr int64_t kKeptSinusoids = 1024;

}  // namespace

Linear::Linear(const Scope& scope, int64_t inputs, int64_t outputs, bool with_bias)
    : weight(scope.matrix("weight", outputs, inputs)) {
  if (with_bias) bias = scope.parameter("bias", {outputs}, Init::constant(0));
}

at::Tensor Linear::operator()(const at::Tensor& x, const tensor::Epilogue& epilogue) const { return tensor::linear(x, weight, bias, epilogue); }

LayerNorm::LayerNorm(const Scope& scope, int64_t dim, tensor::NormKind kind)
    : weight(scope.parameter("weight", {dim}, Init::constant(1))), bias(scope.parameter("bias", {dim}, Init::constant(0))), kind(kind) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const { return tensor::layer_norm(x, weight, bias, kind); }

tensor::Normed LayerNorm::with_residual(const at::Tensor& x) const { return tensor::layer_norm_with_residual(x, weight, bias, kind); }

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

FeedForward::FeedForward(const Scope& scope, int64_t dim, int64_t hidden, std::string activation)
    : up(scope / "up", dim, hidden), down(scope / "down", hidden, dim), activation(std::move(activation)) {}

at::Tensor FeedForward::operator()(const at::Tensor& x, double dropout, tensor::DropoutStream* stream, const tensor::Epilogue& epilogue) const {
  return tensor::feed_forward(x, {up.weight, up.bias, down.weight, down.bias}, activation, dropout, stream, epilogue);
}

Residual::Residual(const Scope& scope, int64_t dim, bool pre_norm, double dropout, tensor::NormKind kind)
    : norm(scope / "norm", dim, kind), pre_norm(pre_norm), dropout(dropout) {}

}  // namespace seqmill::nn
