// Decoder-only Transformers of the Llama family (infer/llama_options.h), for training. Tensors are named as Hugging Face's Llama has them.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "infer/llama_options.h"
#include "kernel/float_kernels.h"
#include "model/lm.h"
#include "nn/layers.h"
#include "tensor/checkpoint.h"
#include "tensor/embedding.h"
#include "tensor/linear.h"
#include "tensor/runtime.h"

namespace seqmill::model {
namespace {

using data::PackedTokens;
using infer::LlamaOptions;
using infer::Tokens;
using tensor::AttentionSettings;
using tensor::DropoutStream;
using tensor::Epilogue;
using tensor::Spans;

tensor::NormSettings norm_settings(const LlamaOptions& o) {
  const tensor::NormKind kind = o.norm == "rms" ? tensor::NormKind::kRms : o.norm == "l1" ? tensor::NormKind::kL1 : tensor::NormKind::kL2;
  return {kind, o.norm_epsilon};
}

/// Nguyen & Salazar, 2019, "Transformers without Tears": sqrt(2 / (5 D)), which is GPT-2's 0.02 for D = 1,000.
nn::Init small(const LlamaOptions& o) { return nn::Init::normal(std::sqrt(0.4 / static_cast<double>(o.dim))); }
/// Of what is added to the residual stream: less, as there are two such sums a layer (Radford et al., 2019, section 2.3).
nn::Init residual_init(const LlamaOptions& o) { return nn::Init::normal(small(o).scale / std::sqrt(2 * static_cast<double>(o.layers))); }

nn::LoraSettings lora_settings(const LlamaOptions& o) { return {o.lora.rank, o.lora.alpha, o.lora.targets}; }

struct Layer {
  Layer(const nn::Scope& scope, const LlamaOptions& o)
      : attention(scope, o.dim, true, o.dropout, norm_settings(o), "input_layernorm"),
        qkv(scope / "self_attn", {{"q_proj", o.query_width()}, {"k_proj", o.key_width()}, {"v_proj", o.key_width()}}, o.dim, o.qkv_bias, small(o), lora_settings(o)),
        polynomial(nn::polynomial(scope / "self_attn", {o.polynomial.degree, o.polynomial.bias, o.polynomial.delta}, o.heads)),
        out(scope / "self_attn", {{"o_proj", o.dim}}, o.query_width(), false, residual_init(o), lora_settings(o)),
        ffn(scope, o.dim, true, o.dropout, norm_settings(o), "post_attention_layernorm"),
        mlp(scope / "mlp", o.dim, o.ffn, o.activation, small(o), residual_init(o), lora_settings(o)) {}

  /// The layer, given how its attention looks things up.
  template <typename Attention>
  at::Tensor operator()(const at::Tensor& input, double activation_dropout, DropoutStream* stream, Attention attend) const {
    const at::Tensor x = attention(input, stream, [&](const at::Tensor& y, const Epilogue& epilogue) { return out(attend(qkv(y)), epilogue); });
    return ffn(x, stream, [&](const at::Tensor& y, const Epilogue& epilogue) { return mlp(y, activation_dropout, stream, epilogue); });
  }

  nn::Residual attention;
  nn::Linear qkv;
  tensor::Polynomial polynomial;
  nn::Linear out;
  nn::Residual ffn;
  nn::Mlp mlp;
};

class Llama final : public Lm {
 public:
  Llama(const LlamaOptions& options, int64_t tokens, std::optional<uint64_t> seed) : options_(options), parameters_(seed) {
    const int64_t vocabulary = options.rows(tokens);
    const nn::Scope root(parameters_), model = root / "model";
    embedding_ = (model / "embed_tokens").parameter("weight", {vocabulary, options.dim}, small(options), nn::Rows::kTargetPieces);
    if (options.positions == "learned") {
      positions_ = (model / "embed_positions").parameter("weight", {options.max_positions, options.dim}, small(options));
    } else {
      rotary_.emplace_back(infer::rope_frequencies(options.rope, options.head_dim));
    }
    for (int64_t i = 0; i < options.layers; ++i) layers_.emplace_back(model / "layers" / std::to_string(i), options);
    norm_.emplace_back(model / "norm", options.dim, norm_settings(options));
    output_ = options.tie ? embedding_ : (root / "lm_head").matrix("weight", vocabulary, options.dim, small(options), nn::Rows::kTargetPieces);
    if (options.tie) parameters_.allow_copy("lm_head.weight", "model.embed_tokens.weight");
    if (options.lora.rank == 0) return;
    parameters_.train_only([](const std::string& name) { return name.find(".lora_") != std::string::npos; });
  }

  nn::Parameters& parameters() override { return parameters_; }
  OutputLayer output_layer() const override { return {output_, at::Tensor()}; }
  int64_t max_positions() const override { return options_.max_positions; }
  bool sees_all() const override { return options_.sees_all(); }
  void set_checkpointing(bool checkpointing) override { checkpointing_ = checkpointing; }
  const LlamaOptions& options() const { return options_; }
  const std::vector<Layer>& layers() const { return layers_; }

  at::Tensor features(const PackedTokens& input, DropoutStream* stream) const override {
    at::Tensor x = embed(input.tokens, input.positions, stream);
    const bool again = checkpointing_ && at::GradMode::is_enabled();
    // Of a model with adapters nothing before the first layer learns; all of its layers are to compute as in training nevertheless.
    if (at::GradMode::is_enabled() && !x.requires_grad()) x.requires_grad_(true);
    for (const Layer& layer : layers_) {
      const auto run = [this, &layer, input](const at::Tensor& y, DropoutStream* masks) {
        return layer(y, options_.activation_dropout, masks, [&](const at::Tensor& qkv) {
          return attend(turned(qkv, input.positions), input, settings(!sees_all(), layer, masks));
        });
      };
      x = again ? tensor::checkpoint(run, x, stream) : run(x, stream);
    }
    return norm_[0](x);
  }

  std::unique_ptr<infer::SequenceDecoder> start() const override;

  at::Tensor embed(const at::Tensor& tokens, const at::Tensor& positions, DropoutStream* stream) const {
    at::Tensor x = tensor::embed(embedding_, tokens, 1);
    if (positions.numel() > 0 && positions.max().item<int64_t>() >= options_.max_positions) {
      fail("a sequence is longer than the {} positions of the model (model.max-positions)", options_.max_positions);
    }
    if (positions_.defined()) x = x + tensor::embed(positions_, positions, 1);
    return tensor::dropout(x, options_.dropout, stream);
  }

  at::Tensor turned(const at::Tensor& qkv, const at::Tensor& positions) const {
    return rotary_.empty() ? qkv : rotary_[0].turn(qkv, positions, options_.heads + options_.kv_heads);
  }

  at::Tensor finish(const at::Tensor& x) const { return norm_[0](x); }

  at::Tensor attend(const at::Tensor& qkv, const PackedTokens& input, const AttentionSettings& how) const {
    if (!input.key_rows.defined()) return tensor::self_attention(qkv, input.spans, how);
    return tensor::self_attention(qkv, input.spans, input.key_rows, input.key_spans, how);
  }

  AttentionSettings settings(bool causal, const Layer& layer, DropoutStream* stream) const {
    return {options_.heads, causal, options_.attention_dropout, stream, layer.polynomial, options_.window, options_.kv_heads};
  }

 private:
  LlamaOptions options_;
  nn::Parameters parameters_;
  at::Tensor embedding_, positions_, output_;
  // Vectors of at most one: not all of them exist in all models, and what has parameters is built in the order of the file.
  std::vector<nn::Rotary> rotary_;
  std::vector<Layer> layers_;
  std::vector<nn::LayerNorm> norm_;
  bool checkpointing_ = false;
};

/// Sequences in slots of caches that grow.
class LlamaDecoder final : public infer::SequenceDecoder {
 public:
  explicit LlamaDecoder(const Llama& model) : model_(model), width_(2 * model.options().key_width()) { caches_.resize(model.layers().size()); }

  Handle begin(const Tokens& tokens, float* logprobs) override {
    at::NoGradGuard no_grad;
    if (tokens.empty()) fail("a sequence begins with at least one token");
    const auto length = static_cast<int64_t>(tokens.size());
    const Handle slot = take_slot();
    make_room(length);
    data::PackedTokens input = data::pack({tokens}, -1, -1);
    input.to(device());
    at::Tensor x = model_.embed(input.tokens, input.positions, nullptr);
    for (size_t i = 0; i < caches_.size(); ++i) {
      const Layer& layer = model_.layers()[i];
      x = layer(x, 0, nullptr, [&](const at::Tensor& qkv) {
        const at::Tensor turned = model_.turned(qkv, input.positions);
        caches_[i][slot].narrow(0, 0, length).copy_(turned.narrow(1, model_.options().query_width(), width_));
        return tensor::self_attention(turned, input.spans, model_.settings(true, layer, nullptr));
      });
    }
    lengths_[static_cast<size_t>(slot)] = length;
    if (logprobs) {
      const float* from = normalised(x.narrow(0, length - 1, 1));
      std::copy(from, from + logprobs_.size(1), logprobs);
    }
    return slot;
  }

  Handle branch(Handle sequence) override {
    at::NoGradGuard no_grad;
    const int64_t length = lengths_.at(static_cast<size_t>(sequence));
    const Handle slot = take_slot();
    make_room(length + 1);
    for (const at::Tensor& cache : caches_) cache[slot].narrow(0, 0, length).copy_(cache[sequence].narrow(0, 0, length));
    lengths_[static_cast<size_t>(slot)] = length;
    return slot;
  }

  void end(Handle sequence) override { idle_.push_back(sequence); }

  float* advance(const std::vector<Handle>& sequences, const std::vector<int32_t>& tokens) override {
    at::NoGradGuard no_grad;
    const auto rows = static_cast<int64_t>(sequences.size());
    std::vector<int64_t> ids(tokens.begin(), tokens.end()), slots(sequences.begin(), sequences.end()), places;
    Spans keys;
    int64_t longest = 0;
    for (const Handle sequence : sequences) longest = std::max(longest, lengths_.at(static_cast<size_t>(sequence)) + 1);
    make_room(longest);
    const int64_t window = model_.options().window;
    for (const int64_t slot : slots) {
      const int64_t place = lengths_[static_cast<size_t>(slot)]++, count = window > 0 ? std::min(place + 1, window) : place + 1;
      places.push_back(place);
      keys.begin.push_back(slot * capacity_ + place + 1 - count);
      keys.length.push_back(count);
    }
    const at::Tensor positions = at::tensor(places, at::kLong).to(device()), slot_index = at::tensor(slots, at::kLong).to(device());
    const Spans queries = Spans::packed(std::vector<int64_t>(static_cast<size_t>(rows), 1));
    at::Tensor x = model_.embed(at::tensor(ids, at::kLong).to(device()), positions, nullptr);
    for (size_t i = 0; i < caches_.size(); ++i) {
      const Layer& layer = model_.layers()[i];
      x = layer(x, 0, nullptr, [&](const at::Tensor& qkv) {
        const at::Tensor turned = model_.turned(qkv, positions);
        const int64_t queries_width = model_.options().query_width();
        caches_[i].index_put_({slot_index, positions}, turned.narrow(1, queries_width, width_));
        return tensor::cross_attention(turned.narrow(1, 0, queries_width).contiguous(), queries, caches_[i].view({-1, width_}), keys,
                                       model_.settings(false, layer, nullptr));
      });
    }
    return normalised(x);
  }

 private:
  at::Device device() const { return model_.output_layer().weight.device(); }

  Handle take_slot() {
    if (!idle_.empty()) {
      const Handle slot = idle_.back();
      idle_.pop_back();
      return slot;
    }
    lengths_.push_back(0);
    return static_cast<Handle>(lengths_.size()) - 1;
  }

  /// For all slots and sequences of this length.
  void make_room(int64_t length) {
    if (length > model_.options().max_positions) {
      fail("a sequence is longer than the {} positions of the model (model.max-positions)", model_.options().max_positions);
    }
    const auto slots = static_cast<int64_t>(lengths_.size());
    const int64_t had = caches_[0].defined() ? caches_[0].size(0) : 0;
    if (slots <= had && length <= capacity_) return;
    const int64_t capacity = std::min(std::max<int64_t>(64, std::max(capacity_, length > capacity_ ? length + length / 2 : length)), model_.options().max_positions);
    const int64_t room = slots > had ? std::max(slots, 2 * had) : had;
    for (at::Tensor& cache : caches_) {
      at::Tensor grown = at::empty({room, capacity, width_}, model_.output_layer().weight.options().requires_grad(false));
      if (had > 0) grown.narrow(0, 0, had).narrow(1, 0, capacity_).copy_(cache);
      cache = grown;
    }
    capacity_ = capacity;
  }

  float* normalised(const at::Tensor& x) {
    const OutputLayer output = model_.output_layer();
    const at::Tensor logits = tensor::linear(model_.finish(x), output.weight, output.bias);
    if (!tensor::is_fast(logits)) {
      logprobs_ = at::log_softmax(logits, -1).to(at::kCPU, at::kFloat).contiguous();
      return logprobs_.data_ptr<float>();
    }
    logprobs_ = logits;
    const int64_t size = logits.size(1);
    float* values = logprobs_.data_ptr<float>();
    parallel_for(logits.size(0), 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) kernel::float_kernels().log_softmax(values + r * size, size);
    });
    return values;
  }

  const Llama& model_;
  int64_t width_;                   ///< keys and values of a token
  std::vector<at::Tensor> caches_;  ///< per layer [slots, capacity, width]
  int64_t capacity_ = 0;
  std::vector<int64_t> lengths_;    ///< by slot
  std::vector<Handle> idle_;
  at::Tensor logprobs_;
};

std::unique_ptr<infer::SequenceDecoder> Llama::start() const {
  check_predicts();
  return std::make_unique<LlamaDecoder>(*this);
}

class LlamaConfig final : public LmConfig {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::unique_ptr<Lm> build(int64_t vocabulary, std::optional<uint64_t> seed) const override {
    return std::make_unique<Llama>(options_.resolve(), vocabulary, seed);
  }
  LmSize size(int64_t vocabulary) const override {
    const LlamaOptions o = options_.resolve();
    const infer::LlamaSize size = infer::size_of(o, o.rows(vocabulary));
    return o.lora.rank > 0 ? LmSize{size.adapters, size.parameters} : LmSize{size.parameters, 0};
  }

 private:
  LlamaOptions options_;
};

const Registration<LmType> registered{"llama",
                                      {"Touvron et al., 2023, LLaMA: Open and Efficient Foundation Language Models", [] { return std::make_unique<LlamaConfig>(); }}};

}  // namespace
}  // namespace seqmill::model
