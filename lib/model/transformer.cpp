// The Transformer encoder-decoder of infer/transformer_options.h, for training.

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/threads.h"
#include "infer/rope.h"
#include "kernel/float_kernels.h"
#include "model/transformer.h"
#include "nn/layers.h"
#include "tensor/linear.h"
#include "tensor/runtime.h"

namespace seqmill::model {
namespace {

using data::Batch;
using data::PackedTokens;
using infer::TransformerOptions;
using tensor::AttentionSettings;
using tensor::DropoutStream;
using tensor::Epilogue;
using tensor::Spans;

tensor::NormKind norm_kind(const TransformerOptions& o) { return o.l1_norm ? tensor::NormKind::kL1 : tensor::NormKind::kL2; }

nn::Residual residual(const nn::Scope& scope, const TransformerOptions& o) {
  return nn::Residual(scope, o.dim, o.norm == "pre", o.dropout, norm_kind(o));
}

tensor::Polynomial polynomial(const nn::Scope& scope, const TransformerOptions& o) {
  return nn::polynomial(scope, {o.polynomial.degree, o.polynomial.bias, o.polynomial.delta}, o.heads);
}

struct EncoderLayer {
  EncoderLayer(const nn::Scope& scope, const TransformerOptions& o)
      : attention(residual(scope / "attention", o)),
        qkv(scope / "attention" / "qkv", o.dim, 3 * o.dim),
        polynomial(model::polynomial(scope / "attention", o)),
        out(scope / "attention" / "out", o.dim, o.dim),
        ffn(residual(scope / "ffn", o)),
        feed_forward(scope / "ffn", o.dim, o.ffn, o.activation) {}
  nn::Residual attention;
  nn::Linear qkv;
  tensor::Polynomial polynomial;
  nn::Linear out;
  nn::Residual ffn;
  nn::FeedForward feed_forward;
};

struct DecoderLayer {
  DecoderLayer(const nn::Scope& scope, const TransformerOptions& o)
      : self(residual(scope / "self", o)),
        self_qkv(scope / "self" / "qkv", o.dim, 3 * o.dim),
        self_polynomial(polynomial(scope / "self", o)),
        self_out(scope / "self" / "out", o.dim, o.dim),
        cross(residual(scope / "cross", o)),
        cross_q(scope / "cross" / "q", o.dim, o.dim),
        cross_kv(scope / "cross" / "kv", o.dim, 2 * o.dim),
        cross_polynomial(polynomial(scope / "cross", o)),
        cross_out(scope / "cross" / "out", o.dim, o.dim),
        ffn(residual(scope / "ffn", o)),
        feed_forward(scope / "ffn", o.dim, o.ffn, o.activation) {}

  /// The layer, given how its self-attention and cross-attention look things up.
  template <typename SelfAttention, typename CrossAttention>
  at::Tensor operator()(const at::Tensor& input, double activation_dropout, DropoutStream* stream, SelfAttention attend_self,
                        CrossAttention attend_cross) const {
    at::Tensor x = self(input, stream, [&](const at::Tensor& y, const Epilogue& epilogue) { return self_out(attend_self(self_qkv(y)), epilogue); });
    x = cross(x, stream, [&](const at::Tensor& y, const Epilogue& epilogue) { return cross_out(attend_cross(cross_q(y)), epilogue); });
    return ffn(x, stream, [&](const at::Tensor& y, const Epilogue& epilogue) { return feed_forward(y, activation_dropout, stream, epilogue); });
  }

  nn::Residual self;
  nn::Linear self_qkv;
  tensor::Polynomial self_polynomial;
  nn::Linear self_out;
  nn::Residual cross;
  nn::Linear cross_q, cross_kv;
  tensor::Polynomial cross_polynomial;
  nn::Linear cross_out;
  nn::Residual ffn;
  nn::FeedForward feed_forward;
};

class Transformer final : public Seq2Seq {
 public:
  Transformer(const TransformerOptions& options, const infer::VocabularySizes& vocabulary, std::optional<uint64_t> seed)
      : options_(options), parameters_(seed) {
    const nn::Scope root(parameters_);
    const nn::Scope encoder = root / "encoder", decoder = root / "decoder";
    target_embedding_.emplace_back(decoder / "embedding", vocabulary.target, options.dim, nn::Rows::kTargetPieces);
    if (options.tie != "all") source_embedding_.emplace_back(encoder / "embedding", vocabulary.source, options.dim, nn::Rows::kSourcePieces);
    output_weight_ = options.tie == "none" ? (root / "output").matrix("weight", vocabulary.target, options.dim, nn::Rows::kTargetPieces)
                                           : target_embedding_[0].weight;
    output_bias_ = (root / "output").parameter("bias", {vocabulary.target}, nn::Init::constant(0), nn::Rows::kTargetPieces);
    if (options.positions == "rotary") rotary_.emplace_back(infer::rope_frequencies({}, options.dim / options.heads));
    positions_.emplace_back(encoder / "positions", options.positions, options.dim, options.max_positions);
    positions_.emplace_back(decoder / "positions", options.positions, options.dim, options.max_positions);
    for (int64_t i = 0; i < options.encoder_layers; ++i) encoder_.emplace_back(encoder / std::to_string(i), options);
    for (int64_t i = 0; i < options.decoder_layers; ++i) decoder_.emplace_back(decoder / std::to_string(i), options);
    if (options.norm == "pre") {
      final_norms_.emplace_back(encoder / "norm", options.dim, norm_kind(options));
      final_norms_.emplace_back(decoder / "norm", options.dim, norm_kind(options));
    }
  }

  nn::Parameters& parameters() override { return parameters_; }
  OutputLayer output_layer() const override { return {output_weight_, output_bias_}; }
  int64_t max_positions() const override {
    return options_.positions == "learned" ? options_.max_positions : Seq2Seq::max_positions();
  }

  at::Tensor features(const Batch& batch, DropoutStream* stream) const override {
    const at::Tensor memory = encode(batch.source, stream);
    at::Tensor x = embed(1, batch.target_input.tokens, batch.target_input.positions, stream);
    for (const DecoderLayer& layer : decoder_) {
      x = layer(
          x, options_.activation_dropout, stream,
          [&](const at::Tensor& qkv) {
            return tensor::self_attention(turned(qkv, batch.target_input.positions), batch.target_input.spans,
                                          settings(true, layer.self_polynomial, stream));
          },
          [&](const at::Tensor& q) {
            const AttentionSettings how = settings(false, layer.cross_polynomial, stream);
            const at::Tensor kv = layer.cross_kv(memory);
            if (!batch.source_rows.defined()) return tensor::cross_attention(q, batch.target_input.spans, kv, batch.source.spans, how);
            return tensor::cross_attention(q, batch.target_input.spans, kv.index_select(0, batch.source_rows), batch.source_spans, how);
          });
    }
    return finish(1, x);
  }

  std::unique_ptr<search::StepDecoder> start(const PackedTokens& source) const override;
  std::unique_ptr<GraphDecoder> start_with_graph(const PackedTokens& source, const std::vector<int64_t>& copies) const override;

  at::Tensor encode(const PackedTokens& source, DropoutStream* stream) const {
    at::Tensor x = embed(0, source.tokens, source.positions, stream);
    for (const EncoderLayer& layer : encoder_) {
      x = layer.attention(x, stream, [&](const at::Tensor& y, const Epilogue& epilogue) {
        return layer.out(tensor::self_attention(turned(layer.qkv(y), source.positions), source.spans,
                                                settings(false, layer.polynomial, stream)),
                         epilogue);
      });
      x = layer.ffn(x, stream, [&](const at::Tensor& y, const Epilogue& epilogue) {
        return layer.feed_forward(y, options_.activation_dropout, stream, epilogue);
      });
    }
    return finish(0, x);
  }

  /// side 0: encoder, 1: decoder.
  at::Tensor embed(size_t side, const at::Tensor& tokens, const at::Tensor& positions, DropoutStream* stream) const {
    const nn::Embedding& embedding = side == 0 && !source_embedding_.empty() ? source_embedding_[0] : target_embedding_[0];
    return tensor::dropout(positions_[side].add_to(embedding(tokens), positions), options_.dropout, stream);
  }

  at::Tensor turned(const at::Tensor& qkv, const at::Tensor& positions) const {
    return rotary_.empty() ? qkv : rotary_[0].turn(qkv, positions, 2 * options_.heads);
  }

  at::Tensor finish(size_t side, const at::Tensor& x) const { return final_norms_.empty() ? x : final_norms_[side](x); }

  AttentionSettings settings(bool causal, const tensor::Polynomial& polynomial, DropoutStream* stream) const {
    return {options_.heads, causal, options_.attention_dropout, stream, polynomial};
  }

  const std::vector<DecoderLayer>& decoder_layers() const { return decoder_; }
  int64_t dim() const { return options_.dim; }

 private:
  TransformerOptions options_;
  nn::Parameters parameters_;
  // Vectors of at most one or two: which of them exist depends on the options.
  std::vector<nn::Embedding> source_embedding_, target_embedding_;
  at::Tensor output_weight_, output_bias_;
  std::vector<nn::Positions> positions_;
  std::vector<nn::Rotary> rotary_;
  std::vector<EncoderLayer> encoder_;
  std::vector<DecoderLayer> decoder_;
  std::vector<nn::LayerNorm> final_norms_;
};

/// Decoding with cached keys and values: each step computes one row per live hypothesis.
class TransformerStepDecoder final : public search::StepDecoder {
 public:
  TransformerStepDecoder(const Transformer& model, const PackedTokens& source) : model_(model), source_spans_(source.spans) {
    at::NoGradGuard no_grad;
    const at::Tensor memory = model.encode(source, nullptr);
    for (const DecoderLayer& layer : model.decoder_layers()) cross_.push_back(layer.cross_kv(memory));
    caches_.resize(cross_.size());
    for (int64_t s = 0; s < source_spans_.count(); ++s) sentence_of_row_.push_back(static_cast<int32_t>(s));
  }

  int64_t sentences() const override { return source_spans_.count(); }
  int64_t vocabulary_size() const override { return model_.output_layer().weight.size(0); }

  float* advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) override {
    at::NoGradGuard no_grad;
    const auto rows = static_cast<int64_t>(parents.size());
    choose_rows(parents);
    const at::TensorOptions options = cross_[0].options().dtype(at::kLong);
    const at::Tensor ids = at::tensor(std::vector<int64_t>(tokens.begin(), tokens.end()), at::kLong).to(options.device());
    const at::Tensor positions = at::full({rows}, length_, options);
    const Spans queries = Spans::packed(std::vector<int64_t>(static_cast<size_t>(rows), 1));
    at::Tensor x = model_.embed(1, ids, positions, nullptr);
    for (size_t i = 0; i < cross_.size(); ++i) {
      const DecoderLayer& layer = model_.decoder_layers()[i];
      x = layer(
          x, 0, nullptr,
          [&](const at::Tensor& qkv) { return attend_cache(i, model_.turned(qkv, positions), queries); },
          [&](const at::Tensor& q) {
            return tensor::cross_attention(q, queries, cross_[i], source_of_rows_, model_.settings(false, layer.cross_polynomial, nullptr));
          });
    }
    ++length_;
    const OutputLayer output = model_.output_layer();
    logprobs_ = tensor::linear(model_.finish(1, x), output.weight, output.bias);
    return normalise();
  }

 private:
  /// Lets the caches and the sentence numbers follow the rows that live on.
  void choose_rows(const std::vector<int32_t>& parents) {
    bool same = parents.size() == sentence_of_row_.size();
    for (size_t i = 0; same && i < parents.size(); ++i) same = parents[i] == static_cast<int32_t>(i);
    std::vector<int32_t> sentences;
    for (const int32_t parent : parents) sentences.push_back(sentence_of_row_.at(static_cast<size_t>(parent)));
    sentence_of_row_ = std::move(sentences);
    source_of_rows_ = Spans();
    for (const int32_t sentence : sentence_of_row_) {
      source_of_rows_.begin.push_back(source_spans_.begin[static_cast<size_t>(sentence)]);
      source_of_rows_.length.push_back(source_spans_.length[static_cast<size_t>(sentence)]);
    }
    const int64_t needed = length_ + 1;
    if (same && needed <= capacity_) return;
    capacity_ = std::max(capacity_, (needed + 15) / 16 * 16);
    for (at::Tensor& cache : caches_) cache = copy_rows(cache, parents);
  }

  /// A cache [rows, capacity, 2D] holding the first `length_` entries of the parents' rows.
  at::Tensor copy_rows(const at::Tensor& cache, const std::vector<int32_t>& parents) const {
    const auto rows = static_cast<int64_t>(parents.size());
    const int64_t width = 2 * model_.dim();
    at::Tensor copy = at::empty({rows, capacity_, width}, cross_[0].options());
    if (length_ == 0) return copy;
    if (!tensor::is_fast(copy)) {
      const at::Tensor index = at::tensor(std::vector<int64_t>(parents.begin(), parents.end()), at::kLong).to(copy.device());
      copy.narrow(1, 0, length_).copy_(cache.narrow(1, 0, length_).index_select(0, index));
      return copy;
    }
    const float* from = cache.data_ptr<float>();
    float* to = copy.data_ptr<float>();
    const int64_t old_row = cache.size(1) * width, new_row = capacity_ * width;
    parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        std::memcpy(to + r * new_row, from + parents[static_cast<size_t>(r)] * old_row,
                    static_cast<size_t>(length_ * width) * sizeof(float));
      }
    });
    return copy;
  }

  at::Tensor attend_cache(size_t layer, const at::Tensor& qkv, const Spans& queries) {
    const int64_t rows = qkv.size(0), dim = model_.dim();
    at::Tensor& cache = caches_[layer];
    cache.select(1, length_).copy_(qkv.narrow(1, dim, 2 * dim));
    Spans keys;
    for (int64_t r = 0; r < rows; ++r) keys.begin.push_back(r * capacity_);
    keys.length.assign(static_cast<size_t>(rows), length_ + 1);
    return tensor::cross_attention(qkv.narrow(1, 0, dim).contiguous(), queries, cache.view({rows * capacity_, 2 * dim}), keys,
                                   model_.settings(false, model_.decoder_layers()[layer].self_polynomial, nullptr));
  }

  float* normalise() {
    if (!tensor::is_fast(logprobs_)) {
      logprobs_ = at::log_softmax(logprobs_, -1).to(at::kCPU, at::kFloat).contiguous();
      return logprobs_.data_ptr<float>();
    }
    const int64_t size = logprobs_.size(1);
    float* values = logprobs_.data_ptr<float>();
    parallel_for(logprobs_.size(0), 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) kernel::float_kernels().log_softmax(values + r * size, size);
    });
    return values;
  }

  const Transformer& model_;
  Spans source_spans_, source_of_rows_;
  std::vector<int32_t> sentence_of_row_;
  std::vector<at::Tensor> cross_;   ///< per layer: keys and values of the source [N, 2D]
  std::vector<at::Tensor> caches_;  ///< per layer: keys and values so far [rows, capacity, 2D]
  int64_t length_ = 0, capacity_ = 0;
  at::Tensor logprobs_;
};

/// Caches grow by concatenation, so that each step's is a node of the graph.
class TransformerGraphDecoder final : public GraphDecoder {
 public:
  TransformerGraphDecoder(const Transformer& model, const PackedTokens& source, const std::vector<int64_t>& copies) : model_(model) {
    const at::Tensor memory = model.encode(source, nullptr);
    std::vector<int64_t> rows, lengths;
    for (size_t s = 0; s < copies.size(); ++s) {
      for (int64_t copy = 0; copy < copies[s]; ++copy) {
        for (int64_t t = 0; t < source.spans.length[s]; ++t) rows.push_back(source.spans.begin[s] + t);
        lengths.push_back(source.spans.length[s]);
      }
    }
    source_spans_ = Spans::packed(std::move(lengths));
    const at::Tensor index = at::tensor(rows, at::kLong).to(memory.device());
    for (const DecoderLayer& layer : model.decoder_layers()) cross_.push_back(layer.cross_kv(memory).index_select(0, index));
    caches_.resize(cross_.size());
  }

  at::Tensor advance(const std::vector<int32_t>& tokens) override {
    const auto rows = static_cast<int64_t>(tokens.size());
    const at::TensorOptions options = at::TensorOptions(at::kLong).device(cross_[0].device());
    const at::Tensor ids = at::tensor(std::vector<int64_t>(tokens.begin(), tokens.end()), at::kLong).to(options.device()), positions = at::full({rows}, length_, options);
    const Spans queries = Spans::packed(std::vector<int64_t>(static_cast<size_t>(rows), 1));
    ++length_;
    const Spans keys = Spans::packed(std::vector<int64_t>(static_cast<size_t>(rows), length_));
    at::Tensor x = model_.embed(1, ids, positions, nullptr);
    for (size_t i = 0; i < cross_.size(); ++i) {
      const DecoderLayer& layer = model_.decoder_layers()[i];
      x = layer(
          x, 0, nullptr,
          [&](const at::Tensor& qkv) {
            const at::Tensor turned = model_.turned(qkv, positions);
            const int64_t dim = model_.dim();
            const at::Tensor kv = turned.narrow(1, dim, 2 * dim).unsqueeze(1);
            caches_[i] = caches_[i].defined() ? at::cat({caches_[i], kv}, 1) : kv;
            return tensor::cross_attention(turned.narrow(1, 0, dim).contiguous(), queries, caches_[i].reshape({rows * length_, 2 * dim}), keys,
                                           model_.settings(false, layer.self_polynomial, nullptr));
          },
          [&](const at::Tensor& q) { return tensor::cross_attention(q, queries, cross_[i], source_spans_, model_.settings(false, layer.cross_polynomial, nullptr)); });
    }
    return model_.finish(1, x);
  }

 private:
  const Transformer& model_;
  Spans source_spans_;
  std::vector<at::Tensor> cross_;   ///< per layer: keys and values of the source, a copy a row [K, 2D]
  std::vector<at::Tensor> caches_;  ///< per layer: keys and values so far [rows, length, 2D]
  int64_t length_ = 0;
};

std::unique_ptr<GraphDecoder> Transformer::start_with_graph(const PackedTokens& source, const std::vector<int64_t>& copies) const {
  return std::make_unique<TransformerGraphDecoder>(*this, source, copies);
}

std::unique_ptr<search::StepDecoder> Transformer::start(const PackedTokens& source) const {
  return std::make_unique<TransformerStepDecoder>(*this, source);
}

}  // namespace

std::unique_ptr<Seq2Seq> make_transformer(const TransformerOptions& options, const infer::VocabularySizes& vocabulary, std::optional<uint64_t> seed) {
  return std::make_unique<Transformer>(options, vocabulary, seed);
}

namespace {

class TransformerConfig final : public Seq2SeqConfig {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::unique_ptr<Seq2Seq> build(const infer::VocabularySizes& vocabulary, std::optional<uint64_t> seed) const override {
    options_.check(vocabulary);
    return make_transformer(options_, vocabulary, seed);
  }

 private:
  TransformerOptions options_;
};

const Registration<Seq2SeqType> registered{
    "transformer",
    {"Vaswani et al., 2017, Attention Is All You Need", [] { return std::make_unique<TransformerConfig>(); }}};

}  // namespace
}  // namespace seqmill::model
