#pragma once
// Language models of the Llama family for tests: random weights, files of them, and log-probabilities from the definition, in double precision.

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/rng.h"
#include "infer/llama_options.h"
#include "infer/lm_engine.h"
#include "io/safetensors.h"
#include "kernel/float_kernels.h"

namespace seqmill::test {

struct TinyTensor {
  std::vector<int64_t> shape;
  std::vector<float> numbers;
};

/// Options and random weights.
struct TinyLlama {
  infer::LlamaOptions options;  ///< resolved
  int64_t vocabulary;
  std::map<std::string, TinyTensor> tensors;

  TinyLlama(const infer::LlamaOptions& given, int64_t vocabulary, uint64_t seed) : options(given.resolve()), vocabulary(vocabulary), rng_(seed, "tiny") {
    const infer::LlamaOptions& o = options;
    add("model.embed_tokens.weight", {vocabulary, o.dim}, 1);
    if (o.positions == "learned") add("model.embed_positions.weight", {o.max_positions, o.dim}, 0.3);
    for (int64_t i = 0; i < o.layers; ++i) {
      const std::string layer = fmt::format("model.layers.{}.", i);
      add_norm(layer + "input_layernorm");
      add_matrix(layer + "self_attn.q_proj", o.query_width(), o.dim);
      add_matrix(layer + "self_attn.k_proj", o.key_width(), o.dim);
      add_matrix(layer + "self_attn.v_proj", o.key_width(), o.dim);
      add_matrix(layer + "self_attn.o_proj", o.dim, o.query_width());
      if (o.qkv_bias) {
        for (const char* one : {"q", "k", "v"}) add(fmt::format("{}self_attn.{}_proj.bias", layer, one), {*one == 'q' ? o.query_width() : o.key_width()}, 0.5);
      }
      if (o.polynomial.degree > 0) {
        add(layer + "self_attn.polynomial.bias", {o.heads}, 1);
        add(layer + "self_attn.polynomial.delta", {o.heads}, 0.1);
      }
      add_norm(layer + "post_attention_layernorm");
      if (o.activation == "swiglu") add_matrix(layer + "mlp.gate_proj", o.ffn, o.dim);
      add_matrix(layer + "mlp.up_proj", o.ffn, o.dim);
      add_matrix(layer + "mlp.down_proj", o.dim, o.ffn);
    }
    add_norm("model.norm");
    if (!o.tie) add("lm_head.weight", {vocabulary, o.dim}, 1 / std::sqrt(static_cast<double>(o.dim)));
  }

  void add(const std::string& name, const std::vector<int64_t>& shape, double scale, double mean = 0) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    TinyTensor& tensor = tensors[name];
    tensor.shape = shape;
    for (int64_t i = 0; i < count; ++i) tensor.numbers.push_back(static_cast<float>(mean + scale * rng_.normal()));
  }

  void write(const std::string& path, io::DType dtype = io::DType::kF32) const {
    std::vector<io::TensorRecord> records;
    std::vector<std::vector<kernel::BFloat16>> halves;
    for (const auto& [name, tensor] : tensors) {
      const void* data = tensor.numbers.data();
      if (dtype == io::DType::kBF16) {
        halves.emplace_back(tensor.numbers.size());
        kernel::float_kernels().to_bfloat16(tensor.numbers.data(), halves.back().data(), static_cast<int64_t>(tensor.numbers.size()));
        data = halves.back().data();
      }
      records.push_back({name, dtype, tensor.shape, data});
    }
    io::write_safetensors(path, records);
  }

  /// The options as the engine takes them.
  std::unique_ptr<infer::LmEngineConfig> config() const {
    infer::LlamaOptions copy = options;
    if (copy.polynomial.degree == 0) copy.polynomial.degree = 1;
    Options from, to;
    copy.declare(from);
    auto config = Registry<infer::LmEngineType>::instance().get("llama").config();
    config->declare(to);
    for (const auto& option : from.all()) {
      const std::string wrong = to.find(option->key())->set(option->values());
      if (!wrong.empty()) fail("{}: {}", option->key(), wrong);
    }
    return config;
  }

  /// Log-probabilities of the token behind each token of a sequence [tokens][vocabulary].
  std::vector<std::vector<double>> logprobs(const std::vector<int32_t>& sequence) const;

 private:
  void add_matrix(const std::string& name, int64_t outputs, int64_t inputs) {
    add(name + ".weight", {outputs, inputs}, 1 / std::sqrt(static_cast<double>(inputs)));
    const std::vector<std::string>& targets = options.lora.targets;
    if (options.lora.rank == 0 || std::find(targets.begin(), targets.end(), name.substr(name.rfind('.') + 1)) == targets.end()) return;
    add(name + ".lora_a.weight", {options.lora.rank, inputs}, 0.3);
    add(name + ".lora_b.weight", {outputs, options.lora.rank}, 0.3);
  }
  void add_norm(const std::string& name) {
    add(name + ".weight", {options.dim}, 0.2, 1);
    if (options.norm != "rms") add(name + ".bias", {options.dim}, 0.2);
  }

  Rng rng_;
};

namespace detail {

using Row = std::vector<double>;

inline Row product(const TinyLlama& model, const std::string& name, const Row& x) {
  const TinyTensor& weight = model.tensors.at(name + ".weight");
  const auto outputs = static_cast<size_t>(weight.shape[0]), inputs = static_cast<size_t>(weight.shape[1]);
  Row out(outputs);
  for (size_t o = 0; o < outputs; ++o) {
    for (size_t k = 0; k < inputs; ++k) out[o] += static_cast<double>(weight.numbers[o * inputs + k]) * x[k];
  }
  const auto bias = model.tensors.find(name + ".bias");
  for (size_t o = 0; bias != model.tensors.end() && o < outputs; ++o) out[o] += static_cast<double>(bias->second.numbers[o]);
  const auto a = model.tensors.find(name + ".lora_a.weight");
  if (a == model.tensors.end()) return out;
  const TinyTensor& b = model.tensors.at(name + ".lora_b.weight");
  const auto rank = static_cast<size_t>(a->second.shape[0]);
  for (size_t r = 0; r < rank; ++r) {
    double inner = 0;
    for (size_t k = 0; k < inputs; ++k) inner += static_cast<double>(a->second.numbers[r * inputs + k]) * x[k];
    for (size_t o = 0; o < outputs; ++o) out[o] += model.options.lora.alpha / static_cast<double>(rank) * static_cast<double>(b.numbers[o * rank + r]) * inner;
  }
  return out;
}

inline Row norm(const TinyLlama& model, const std::string& name, const Row& x) {
  const infer::LlamaOptions& o = model.options;
  const auto size = static_cast<double>(x.size());
  double mean = 0, spread = 0;
  for (const double number : x) mean += o.norm == "rms" ? 0 : number / size;
  for (const double number : x) spread += (o.norm == "l1" ? std::abs(number - mean) : (number - mean) * (number - mean)) / size;
  const double divisor = o.norm == "l1" ? std::sqrt(std::acos(-1.0) / 2) * spread + o.norm_epsilon : std::sqrt(spread + o.norm_epsilon);
  Row out;
  for (size_t d = 0; d < x.size(); ++d) {
    const double bias = o.norm == "rms" ? 0 : static_cast<double>(model.tensors.at(name + ".bias").numbers[d]);
    out.push_back((x[d] - mean) / divisor * static_cast<double>(model.tensors.at(name + ".weight").numbers[d]) + bias);
  }
  return out;
}

/// Each head turned by its position.
inline void turn(const infer::LlamaOptions& o, size_t position, Row& x) {
  if (o.positions != "rotary") return;
  const std::vector<float> frequencies = infer::rope_frequencies(o.rope, o.head_dim);
  const size_t half = frequencies.size();
  for (size_t head = 0; head < x.size(); head += 2 * half) {
    for (size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * static_cast<double>(frequencies[i]), a = x[head + i], b = x[head + half + i];
      x[head + i] = a * std::cos(angle) - b * std::sin(angle);
      x[head + half + i] = b * std::cos(angle) + a * std::sin(angle);
    }
  }
}

inline Row attend(const TinyLlama& model, const std::string& name, const Row& q, const std::vector<Row>& keys, const std::vector<Row>& values) {
  const infer::LlamaOptions& o = model.options;
  const auto dim = static_cast<size_t>(o.head_dim), heads = static_cast<size_t>(o.heads), group = static_cast<size_t>(o.heads / o.kv_heads);
  const size_t count = keys.size(), first = o.window > 0 && count > static_cast<size_t>(o.window) ? count - static_cast<size_t>(o.window) : 0;
  Row out(q.size());
  for (size_t h = 0; h < heads; ++h) {
    Row weights(count);
    double largest = -INFINITY, sum = 0;
    for (size_t t = first; t < count; ++t) {
      for (size_t d = 0; d < dim; ++d) weights[t] += q[h * dim + d] * keys[t][h / group * dim + d];
      weights[t] /= std::sqrt(static_cast<double>(dim));
      largest = std::max(largest, weights[t]);
    }
    for (size_t t = first; t < count; ++t) {
      if (o.polynomial.degree > 0) {
        const auto bias = static_cast<double>(model.tensors.at(name + ".polynomial.bias").numbers[h]);
        const auto delta = static_cast<double>(model.tensors.at(name + ".polynomial.delta").numbers[h]);
        weights[t] = std::pow(std::max(0.0, weights[t] + bias), static_cast<double>(o.polynomial.degree)) + std::abs(delta);
      } else {
        weights[t] = std::exp(weights[t] - largest);
      }
      sum += weights[t];
    }
    for (size_t t = first; t < count; ++t) {
      for (size_t d = 0; d < dim; ++d) out[h * dim + d] += weights[t] / sum * values[t][h / group * dim + d];
    }
  }
  return out;
}

inline Row feed_forward(const TinyLlama& model, const std::string& name, const Row& x) {
  Row hidden = product(model, name + ".up_proj", x);
  const std::string& activation = model.options.activation;
  if (activation == "swiglu") {
    const Row gates = product(model, name + ".gate_proj", x);
    for (size_t i = 0; i < hidden.size(); ++i) hidden[i] *= gates[i] / (1 + std::exp(-gates[i]));
  }
  for (double& number : hidden) {
    if (activation == "relu") number = std::max(0.0, number);
    if (activation == "gelu") number = number / 2 * (1 + std::erf(number / std::sqrt(2.0)));
  }
  return product(model, name + ".down_proj", hidden);
}

inline void add(Row& x, const Row& y) {
  for (size_t d = 0; d < x.size(); ++d) x[d] += y[d];
}

}  // namespace detail

inline std::vector<std::vector<double>> TinyLlama::logprobs(const std::vector<int32_t>& sequence) const {
  using detail::Row;
  const infer::LlamaOptions& o = options;
  const auto dim = static_cast<size_t>(o.dim);
  std::vector<std::vector<Row>> keys(static_cast<size_t>(o.layers)), values(keys);
  std::vector<Row> all;
  for (size_t position = 0; position < sequence.size(); ++position) {
    Row x;
    for (size_t d = 0; d < dim; ++d) {
      x.push_back(static_cast<double>(tensors.at("model.embed_tokens.weight").numbers[static_cast<size_t>(sequence[position]) * dim + d]));
      if (o.positions == "learned") x.back() += static_cast<double>(tensors.at("model.embed_positions.weight").numbers[position * dim + d]);
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::string layer = fmt::format("model.layers.{}", i), attention = layer + ".self_attn";
      const Row normed = detail::norm(*this, layer + ".input_layernorm", x);
      Row q = detail::product(*this, attention + ".q_proj", normed), k = detail::product(*this, attention + ".k_proj", normed);
      detail::turn(o, position, q);
      detail::turn(o, position, k);
      keys[i].push_back(k);
      values[i].push_back(detail::product(*this, attention + ".v_proj", normed));
      detail::add(x, detail::product(*this, attention + ".o_proj", detail::attend(*this, attention, q, keys[i], values[i])));
      detail::add(x, detail::feed_forward(*this, layer + ".mlp", detail::norm(*this, layer + ".post_attention_layernorm", x)));
    }
    Row logits = detail::product(*this, o.tie ? "model.embed_tokens" : "lm_head", detail::norm(*this, "model.norm", x));
    double sum = 0;
    const double largest = *std::max_element(logits.begin(), logits.end());
    for (const double logit : logits) sum += std::exp(logit - largest);
    for (double& logit : logits) logit -= largest + std::log(sum);
    all.push_back(logits);
  }
  return all;
}

}  // namespace seqmill::test
