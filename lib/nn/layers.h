#pragma once
// The layers that most architectures are made of. All of them take and give packed rows: x [N, D] holds the tokens of all
// sequences one after another, without padding.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nn/parameters.h"
#include "tensor/attention.h"
#include "tensor/dropout.h"
#include "tensor/layer_norm.h"

namespace seqmill::nn {

/// Low-rank adapters (Hu et al., 2022, eq. 3) of matrices of these names: alpha / rank B A is added to what is multiplied. Rank 0: none.
struct LoraSettings {
  int64_t rank = 0;
  double alpha = 16;
  std::vector<std::string> targets;
};

struct Linear {
  Linear(const Scope& scope, int64_t inputs, int64_t outputs, bool with_bias = true);
  /// Matrices under one another, each known to files by its own name, "q_proj" having "q_proj.weight" and perhaps "q_proj.bias". One that is a target of `lora` has
  /// "q_proj.lora_a.weight" and "q_proj.lora_b.weight" too, which are zeros to begin with.
  Linear(const Scope& scope, const std::vector<Part>& parts, int64_t inputs, bool with_bias, Init init, const LoraSettings& lora);
  at::Tensor operator()(const at::Tensor& x, const tensor::Epilogue& epilogue = {}) const;  ///< [N, in] -> [N, out]
  bool adapted() const { return !adapters.empty(); }

  /// What is added to some of the outputs.
  struct Adapter {
    int64_t first_output;
    double scale;
    at::Tensor a, b;  ///< [rank, in], [outputs, rank]
  };
  at::Tensor weight, bias;  ///< [out, in], [out]
  std::vector<Adapter> adapters;
};

/// Ba, Kiros & Hinton, 2016; by the mean deviation (L1) or the mean square (RMS, without bias) if asked for.
struct LayerNorm {
  LayerNorm(const Scope& scope, int64_t dim, tensor::NormSettings settings = {});
  at::Tensor operator()(const at::Tensor& x) const;         ///< [N, D]
  tensor::Normed with_residual(const at::Tensor& x) const;  ///< what a residual connection begins with
  at::Tensor weight, bias;
  tensor::NormSettings settings;
};

/// How the attention of a new model weighs scores. Degree 0: softmax.
struct PolynomialStart {
  int64_t degree = 0;
  double bias = 1, delta = 0.01;  ///< what training begins with
};

/// The parameters of polynomial attention (Lin et al., 2020, eq. 11): a bias and a delta for each head; none for softmax.
tensor::Polynomial polynomial(const Scope& scope, const PolynomialStart& start, int64_t heads);

/// Token embeddings times sqrt(D), as in Vaswani et al., 2017, section 3.4.
struct Embedding {
  Embedding(const Scope& scope, int64_t size, int64_t dim, Rows rows = Rows::kOther);
  at::Tensor operator()(const at::Tensor& tokens) const;  ///< [N] int64 -> [N, D]
  at::Tensor weight;                                      ///< [size, D]
};

/// Turns queries and keys by their positions (Su et al., 2021, RoFormer). Copies share one table, which grows with the positions it is asked for.
class Rotary {
 public:
  /// `frequencies` [head width / 2]: the angles of position 1.
  explicit Rotary(std::vector<float> frequencies);
  /// The first `heads` heads of x [N, W].
  at::Tensor turn(const at::Tensor& x, const at::Tensor& positions, int64_t heads) const;

 private:
  struct Table;
  std::shared_ptr<Table> table_;
};

/// Absolute positions added to the embeddings: fixed sines (Vaswani et al., 2017, section 3.5) or a learned table.
class Positions {
 public:
  /// kind: "sinusoidal", "learned", or "rotary" (nothing is added; attention turns queries and keys instead).
  Positions(const Scope& scope, const std::string& kind, int64_t dim, int64_t max_length);
  at::Tensor add_to(const at::Tensor& x, const at::Tensor& positions) const;  ///< x [N, D], positions [N] int64
  bool rotary() const { return kind_ == "rotary"; }

 private:
  at::Tensor sinusoids(const at::Tensor& positions, at::TensorOptions options) const;  ///< [N, D]

  std::string kind_;
  int64_t dim_, max_length_;
  at::Tensor table_;  ///< learned; or the first sinusoids, as a batch needs the same ones again and again
};

/// D -> hidden -> D without biases, gated ("swiglu") or with ReLU or GELU between, as language models name it: gate_proj, up_proj, down_proj.
struct Mlp {
  /// `inner` and `outer`: how the matrices of the hidden units and the one behind them begin.
  Mlp(const Scope& scope, int64_t dim, int64_t hidden, std::string activation, Init inner, Init outer, const LoraSettings& lora);
  at::Tensor operator()(const at::Tensor& x, double dropout, tensor::DropoutStream* stream, const tensor::Epilogue& epilogue = {}) const;
  Linear up, down;  ///< up: gates and values, or what is before the activation
  std::string activation;
};

/// D -> hidden -> D with ReLU or GELU between.
struct FeedForward {
  FeedForward(const Scope& scope, int64_t dim, int64_t hidden, std::string activation);
  at::Tensor operator()(const at::Tensor& x, double dropout, tensor::DropoutStream* stream, const tensor::Epilogue& epilogue = {}) const;
  Linear up, down;
  std::string activation;  ///< "relu" or "gelu"
};

/// A sub-layer f inside its residual connection: x + dropout(f(norm(x))) ("pre") or norm(x + dropout(f(x))) ("post"). The function must
/// give the epilogue it gets, which is the dropout and the addition, to its last layer.
struct Residual {
  Residual(const Scope& scope, int64_t dim, bool pre_norm, double dropout, tensor::NormSettings settings = {}, const std::string& name = "norm");
  template <typename Function>
  at::Tensor operator()(const at::Tensor& x, tensor::DropoutStream* stream, Function function) const {
    if (!pre_norm) return norm(function(x, tensor::Epilogue{x, dropout, stream}));
    const tensor::Normed begin = norm.with_residual(x);
    return function(begin.normed, tensor::Epilogue{begin.residual, dropout, stream});
  }
  LayerNorm norm;
  bool pre_norm;
  double dropout;
};

}  // namespace seqmill::nn
