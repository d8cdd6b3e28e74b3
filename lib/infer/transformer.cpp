// The Transformer encoder-decoder of infer/transformer_options.h, the Integer Transformer in floating point being one of them. Products are those of its
// weights, in float32, bfloat16 or 8-bit integers; all else is float32.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "base/buffer.h"
#include "base/error.h"
#include "infer/engine.h"
#include "infer/matrix.h"
#include "infer/pool.h"
#include "infer/rope.h"
#include "infer/sinusoids.h"
#include "infer/step_cache.h"
#include "infer/transformer.h"
#include "kernel/float_kernels.h"

namespace seqmill::infer {
namespace {

using kernel::Finish;

using Room = Buffer<float>;

/// The memory of one decoder.
struct Workspace {
  Room x, normed, qkv, attended, hidden, weights, logprobs, angles;
  std::vector<Room> source_keys;  ///< per layer of the decoder: keys and values of the sources [rows, 2 * dim]
  std::vector<Room> steps;        ///< of StepStore
  RoundedRows rounded;
};

struct Linear {
  Linear(Weights& weights, const std::string& name, int64_t inputs, int64_t outputs)
      : matrix(weights, name + ".weight", outputs, inputs), bias(weights.take_vector(name + ".bias", outputs)) {}

  void operator()(const float* x, int64_t rows, float* out, RoundedRows& room, const float* residual = nullptr, bool relu = false) const {
    matrix.multiply(x, rows, out, Finish{bias.data(), relu, residual}, room);
  }

  Matrix matrix;
  std::vector<float> bias;
};

struct Norm {
  Norm(Weights& weights, const std::string& name, const TransformerOptions& o)
      : weight(weights.take_vector(name + ".weight", o.dim)), bias(weights.take_vector(name + ".bias", o.dim)), l1(o.l1_norm) {}

  /// In place is allowed.
  void operator()(const float* x, int64_t rows, float* out) const {
    constexpr float kEpsilon = 1e-5F;
    const auto columns = static_cast<int64_t>(weight.size());
    const auto normalise = l1 ? kernel::float_kernels().l1_norm : kernel::float_kernels().layer_norm;
    float mean, inverse;
    for (int64_t r = 0; r < rows; ++r) normalise(x + r * columns, weight.data(), bias.data(), kEpsilon, out + r * columns, &mean, &inverse, 1, columns);
  }

  std::vector<float> weight, bias;
  bool l1;
};

struct FeedForward {
  FeedForward(Weights& weights, const std::string& name, const TransformerOptions& o)
      : up(weights, name + ".up", o.dim, o.ffn), down(weights, name + ".down", o.ffn, o.dim), gelu(o.activation == "gelu") {}

  void operator()(const float* x, int64_t rows, const float* residual, float* out, Workspace& room) const {
    const int64_t width = up.matrix.outputs();
    float* hidden = room.hidden.room_for(rows * width);
    up(x, rows, hidden, room.rounded, nullptr, !gelu);
    if (gelu) kernel::float_kernels().gelu(hidden, rows * width);
    down(hidden, rows, out, room.rounded, residual);
  }

  Linear up, down;
  bool gelu;
};

/// x + f(norm(x)) ("pre") or norm(x + f(x)) ("post"), in place.
class Residual {
 public:
  Residual(Weights& weights, const std::string& name, const TransformerOptions& o) : norm_(weights, name + ".norm", o), pre_(o.norm == "pre") {}

  /// `function(input, residual, out)` writes residual + f(input).
  template <typename Function>
  void operator()(float* x, int64_t rows, Room& room, Function function) const {
    if (!pre_) {
      function(x, x, x);
      norm_(x, rows, x);
      return;
    }
    float* normed = room.room_for(rows * static_cast<int64_t>(norm_.weight.size()));
    norm_(x, rows, normed);
    function(normed, x, x);
  }

 private:
  Norm norm_;
  bool pre_;
};

/// A polynomial for each head; none for softmax.
std::vector<kernel::Polynomial> take_polynomials(Weights& weights, const std::string& name, const TransformerOptions& o) {
  std::vector<kernel::Polynomial> polynomials;
  if (o.polynomial.degree == 0) return polynomials;
  const std::vector<float> bias = weights.take_vector(name + ".polynomial.bias", o.heads), delta = weights.take_vector(name + ".polynomial.delta", o.heads);
  for (size_t h = 0; h < std::min(bias.size(), delta.size()); ++h) polynomials.push_back({static_cast<int>(o.polynomial.degree), bias[h], delta[h]});
  return polynomials;
}

struct EncoderLayer {
  EncoderLayer(Weights& weights, const std::string& name, const TransformerOptions& o)
      : attention(weights, name + ".attention", o),
        qkv(weights, name + ".attention.qkv", o.dim, 3 * o.dim),
        polynomials(take_polynomials(weights, name + ".attention", o)),
        out(weights, name + ".attention.out", o.dim, o.dim),
        ffn(weights, name + ".ffn", o),
        feed_forward(weights, name + ".ffn", o) {}
  Residual attention;
  Linear qkv;
  std::vector<kernel::Polynomial> polynomials;
  Linear out;
  Residual ffn;
  FeedForward feed_forward;
};

struct DecoderLayer {
  DecoderLayer(Weights& weights, const std::string& name, const TransformerOptions& o)
      : self(weights, name + ".self", o),
        self_qkv(weights, name + ".self.qkv", o.dim, 3 * o.dim),
        self_polynomials(take_polynomials(weights, name + ".self", o)),
        self_out(weights, name + ".self.out", o.dim, o.dim),
        cross(weights, name + ".cross", o),
        cross_q(weights, name + ".cross.q", o.dim, o.dim),
        cross_kv(weights, name + ".cross.kv", o.dim, 2 * o.dim),
        cross_polynomials(take_polynomials(weights, name + ".cross", o)),
        cross_out(weights, name + ".cross.out", o.dim, o.dim),
        ffn(weights, name + ".ffn", o),
        feed_forward(weights, name + ".ffn", o) {}
  Residual self;
  Linear self_qkv;
  std::vector<kernel::Polynomial> self_polynomials;
  Linear self_out;
  Residual cross;
  Linear cross_q, cross_kv;
  std::vector<kernel::Polynomial> cross_polynomials;
  Linear cross_out;
  Residual ffn;
  FeedForward feed_forward;
};

class Positions {
 public:
  Positions(Weights& weights, const std::string& name, const TransformerOptions& o)
      : dim_(o.dim), head_dim_(o.dim / o.heads), limit_(o.max_positions), rotary_(o.positions == "rotary") {
    if (o.positions == "learned") {
      const Numbers table = weights.take(name + ".weight", {o.max_positions, o.dim});
      if (table.data()) table_.assign(table.data(), table.data() + o.max_positions * o.dim);
    }
    // Not by sizes that only config.yaml knows.
    if (weights.fit()) frequencies_ = rotary_ ? rope_frequencies({}, head_dim_) : frequencies(dim_ / 2);
  }

  /// Adds what stands for this position to a row of embeddings.
  void add(int64_t position, float* row) const {
    if (rotary_) return;
    if (!table_.empty()) {
      if (position >= limit_) fail("a sequence is longer than the {} learned positions of the model (model.max-positions)", limit_);
      for (int64_t d = 0; d < dim_; ++d) row[d] += table_[static_cast<size_t>(position * dim_ + d)];
      return;
    }
    const int64_t half = dim_ / 2;
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies_[static_cast<size_t>(i)];
      row[i] += std::sin(angle);
      row[half + i] += std::cos(angle);
    }
  }

  /// Turns every head of queries and keys, which begin a row; `angles` is room for cosines and sines.
  void turn(int64_t position, float* row, Room& angles) const {
    if (!rotary_) return;
    const int64_t half = head_dim_ / 2;
    float* cosines = angles.room_for(2 * half);
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies_[static_cast<size_t>(i)];
      cosines[i] = std::cos(angle);
      cosines[half + i] = std::sin(angle);
    }
    kernel::float_kernels().rotate(row, row, cosines, cosines + half, false, 2 * dim_ / head_dim_, half);
  }

 private:
  int64_t dim_, head_dim_, limit_;
  bool rotary_;
  std::vector<float> table_, frequencies_;
};

class Transformer final : public TranslationModel {
 public:
  Transformer(const TransformerOptions& options, const VocabularySizes& vocabulary, Weights& weights)
      : options_(options), sizes_(vocabulary) {
    const int64_t dim = options.dim;
    target_embedding_.emplace(weights, "decoder.embedding.weight", vocabulary.target, dim);
    if (options.tie != "all") source_embedding_.emplace(weights, "encoder.embedding.weight", vocabulary.source, dim);
    if (options.tie == "none") output_weight_.emplace(weights, "output.weight", vocabulary.target, dim);
    output_bias_ = weights.take_vector("output.bias", vocabulary.target);
    for (const char* side : {"encoder", "decoder"}) positions_.emplace_back(weights, std::string(side) + ".positions", options);
    for (int64_t i = 0; i < options.encoder_layers; ++i) encoder_.emplace_back(weights, fmt::format("encoder.{}", i), options);
    for (int64_t i = 0; i < options.decoder_layers; ++i) decoder_.emplace_back(weights, fmt::format("decoder.{}", i), options);
    if (options.norm != "pre") return;
    for (const char* side : {"encoder", "decoder"}) final_norms_.emplace_back(weights, std::string(side) + ".norm", options);
  }

  int64_t max_positions() const override {
    return options_.positions == "learned" ? options_.max_positions : std::numeric_limits<int64_t>::max();
  }

  std::unique_ptr<search::StepDecoder> start(const std::vector<Tokens>& sources) const override;

  Pool<Workspace>& workspaces() const { return workspaces_; }
  const TransformerOptions& options() const { return options_; }
  const VocabularySizes& sizes() const { return sizes_; }
  const std::vector<EncoderLayer>& encoder() const { return encoder_; }
  const std::vector<DecoderLayer>& decoder() const { return decoder_; }
  const Positions& positions(size_t side) const { return positions_[side]; }

  /// Side 0: encoder, 1: decoder. Without what stands for the position.
  void embed(size_t side, int32_t token, float* out) const {
    const bool of_source = side == 0 && options_.tie != "all";
    const int64_t size = side == 0 ? sizes_.source : sizes_.target;
    if (token < 0 || token >= size) fail("token {} is outside the vocabulary of {}", token, size);
    (of_source ? source_embedding_ : target_embedding_)->row(token, out);
    const float scale = std::sqrt(static_cast<float>(options_.dim));
    for (int64_t d = 0; d < options_.dim; ++d) out[d] *= scale;
  }

  void finish(size_t side, float* x, int64_t rows) const {
    if (!final_norms_.empty()) final_norms_[side](x, rows, x);
  }

  /// Log-probabilities [rows, target vocabulary].
  void logprobs(const float* hidden, int64_t rows, float* out, RoundedRows& room) const {
    constexpr int64_t kRows = 96;  // whose logits are still near when they are normalised
    const Matrix& weight = options_.tie == "none" ? *output_weight_ : *target_embedding_;
    for (int64_t begin = 0; begin < rows; begin += kRows) {
      const int64_t end = std::min(rows, begin + kRows);
      weight.multiply(hidden + begin * options_.dim, end - begin, out + begin * sizes_.target, Finish{output_bias_.data(), false, nullptr}, room);
      for (int64_t r = begin; r < end; ++r) kernel::float_kernels().log_softmax(out + r * sizes_.target, sizes_.target);
    }
  }

 private:
  TransformerOptions options_;
  VocabularySizes sizes_;
  std::optional<Matrix> target_embedding_, source_embedding_, output_weight_;  ///< the last two when they are not the first
  std::vector<float> output_bias_;
  std::vector<Positions> positions_;
  std::vector<EncoderLayer> encoder_;
  std::vector<DecoderLayer> decoder_;
  std::vector<Norm> final_norms_;
  mutable Pool<Workspace> workspaces_;
};

class Decoder final : public search::StepDecoder {
 public:
  Decoder(const Transformer& model, const std::vector<Tokens>& sources)
      : model_(model), dim_(model.options().dim), sentences_(sources), room_(model.workspaces().take()), cache_(model.options().decoder_layers, 2 * dim_, room_->steps) {
    encode(sources);
  }

  int64_t sentences() const override { return sentences_.count(); }
  int64_t vocabulary_size() const override { return model_.sizes().target; }

  float* advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) override {
    const auto rows = static_cast<int64_t>(parents.size());
    sentences_.begin_step(parents);
    origins_.begin_step(parents);
    cache_.begin_step(rows);
    const int64_t position = origins_.length() - 1;
    float* x = room_->x.room_for(rows * dim_);
    // All rows are at the same position.
    position_.assign(static_cast<size_t>(dim_), 0);
    model_.positions(1).add(position, position_.data());
    for (int64_t r = 0; r < rows; ++r) {
      float* row = x + r * dim_;
      model_.embed(1, tokens[static_cast<size_t>(r)], row);
      for (int64_t d = 0; d < dim_; ++d) row[d] += position_[static_cast<size_t>(d)];
    }
    for (size_t i = 0; i < model_.decoder().size(); ++i) {
      const DecoderLayer& layer = model_.decoder()[i];
      layer.self(x, rows, room_->normed, [&](const float* y, const float* residual, float* out) {
        layer.self_out(attend_self(layer, static_cast<int64_t>(i), y, rows, position), rows, out, room_->rounded, residual);
      });
      layer.cross(x, rows, room_->normed, [&](const float* y, const float* residual, float* out) {
        layer.cross_out(attend_source(layer, i, y, rows), rows, out, room_->rounded, residual);
      });
      layer.ffn(x, rows, room_->normed, [&](const float* y, const float* residual, float* out) { layer.feed_forward(y, rows, residual, out, *room_); });
    }
    model_.finish(1, x, rows);
    float* out = room_->logprobs.room_for(rows * vocabulary_size());
    model_.logprobs(x, rows, out, room_->rounded);
    return out;
  }

 private:
  /// Leaves the keys and values of the sources, for each layer of the decoder, in source_keys_.
  void encode(const std::vector<Tokens>& sources) {
    const int64_t rows = sentences_.tokens();
    float* x = room_->x.room_for(rows * dim_);
    for (size_t s = 0; s < sources.size(); ++s) {
      for (int64_t p = 0; p < sentences_.length(s); ++p) {
        float* row = x + (sentences_.begin(s) + p) * dim_;
        model_.embed(0, sources[s][static_cast<size_t>(p)], row);
        model_.positions(0).add(p, row);
      }
    }
    for (const EncoderLayer& layer : model_.encoder()) {
      layer.attention(x, rows, room_->normed, [&](const float* y, const float* residual, float* out) {
        float* qkv = room_->qkv.room_for(rows * 3 * dim_);
        layer.qkv(y, rows, qkv, room_->rounded);
        float* attended = room_->attended.room_for(rows * dim_);
        for (size_t s = 0; s < sources.size(); ++s) {
          float* first = qkv + sentences_.begin(s) * 3 * dim_;
          for (int64_t p = 0; p < sentences_.length(s); ++p) model_.positions(0).turn(p, first + p * 3 * dim_, room_->angles);
          attend(layer.polynomials, first, sentences_.length(s), 3 * dim_, first + dim_, first + 2 * dim_, sentences_.length(s), 3 * dim_, attended + sentences_.begin(s) * dim_);
        }
        layer.out(attended, rows, out, room_->rounded, residual);
      });
      layer.ffn(x, rows, room_->normed, [&](const float* y, const float* residual, float* out) { layer.feed_forward(y, rows, residual, out, *room_); });
    }
    model_.finish(0, x, rows);
    room_->source_keys.resize(model_.decoder().size());
    for (size_t i = 0; i < model_.decoder().size(); ++i) {
      float* keys = room_->source_keys[i].room_for(rows * 2 * dim_);
      model_.decoder()[i].cross_kv(x, rows, keys, room_->rounded);
      source_keys_.push_back(keys);
    }
  }

  const float* attend_self(const DecoderLayer& layer, int64_t number, const float* y, int64_t rows, int64_t position) {
    float* qkv = room_->qkv.room_for(rows * 3 * dim_);
    layer.self_qkv(y, rows, qkv, room_->rounded);
    float* attended = room_->attended.room_for(rows * dim_);
    const int64_t heads = model_.options().heads, head_dim = dim_ / heads, count = origins_.length();
    const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
    float* weights = room_->weights.room_for(heads * count);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = qkv + r * 3 * dim_;
      model_.positions(1).turn(position, row, room_->angles);
      std::memcpy(cache_.place(number, r), row + dim_, static_cast<size_t>(2 * dim_) * sizeof(float));
      const kernel::ScatteredKeys<float> keys{cache_.of_row(number, origins_.row(r)), count, 0, dim_};
      kernel::packed_kernels().attend(row, keys, heads, 1, head_dim, scale, layer.self_polynomials.empty() ? nullptr : layer.self_polynomials.data(), weights,
                                      attended + r * dim_);
    }
    return attended;
  }

  const float* attend_source(const DecoderLayer& layer, size_t number, const float* y, int64_t rows) {
    float* q = room_->qkv.room_for(rows * dim_);
    layer.cross_q(y, rows, q, room_->rounded);
    float* attended = room_->attended.room_for(rows * dim_);
    // Rows of one sentence, which are neighbours, look at the same keys.
    for (int64_t first = 0, end; first < rows; first = end) {
      const size_t s = sentences_.of_row(first);
      for (end = first + 1; end < rows && sentences_.of_row(end) == s;) ++end;
      const float* keys = source_keys_[number] + sentences_.begin(s) * 2 * dim_;
      attend(layer.cross_polynomials, q + first * dim_, end - first, dim_, keys, keys + dim_, sentences_.length(s), 2 * dim_, attended + first * dim_);
    }
    return attended;
  }

  /// Every query to every key, by heads.
  void attend(const std::vector<kernel::Polynomial>& polynomials, const float* q, int64_t queries, int64_t q_stride, const float* k, const float* v,
              int64_t keys, int64_t kv_stride, float* out) {
    const int64_t heads = model_.options().heads, head_dim = dim_ / heads;
    float* weights = room_->weights.room_for(queries * keys);
    kernel::AttentionHead head{};
    head.q_stride = q_stride;
    head.k_stride = head.v_stride = kv_stride;
    head.q_length = queries;
    head.k_length = keys;
    head.dim = head_dim;
    head.scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
    for (int64_t h = 0; h < heads; ++h) {
      head.q = q + h * head_dim;
      head.k = k + h * head_dim;
      head.v = v + h * head_dim;
      if (!polynomials.empty()) head.polynomial = polynomials[static_cast<size_t>(h)];
      kernel::float_kernels().attention_forward(head, weights, out + h * head_dim, dim_);
    }
  }

  const Transformer& model_;
  int64_t dim_;
  Sentences sentences_;
  std::vector<const float*> source_keys_;           ///< per layer of the decoder: keys and values [rows, 2 * dim]
  std::vector<float> position_;  ///< what stands for that of the present step
  Pool<Workspace>::Lease room_;
  StepOrigins origins_;
  StepStore<float> cache_;  ///< keys and values
};

std::unique_ptr<search::StepDecoder> Transformer::start(const std::vector<Tokens>& sources) const {
  return std::make_unique<Decoder>(*this, sources);
}

}  // namespace

std::unique_ptr<TranslationModel> make_transformer(const TransformerOptions& options, const VocabularySizes& vocabulary, Weights& weights) {
  if (weights.integer_mode() == "scale-propagation") weights.refuse_mode("a model of type integer-transformer");
  return std::make_unique<Transformer>(options, vocabulary, weights);
}

namespace {

class TransformerConfig final : public EngineConfig {
 public:
  void declare(Options& options) override { options_.declare(options); }
  std::unique_ptr<TranslationModel> build(const VocabularySizes& vocabulary, Weights& weights) const override {
    options_.check(vocabulary);
    return make_transformer(options_, vocabulary, weights);
  }

 private:
  TransformerOptions options_;
};

const Registration<EngineType> registered{"transformer", {[] { return std::make_unique<TransformerConfig>(); }}};

}  // namespace
}  // namespace seqmill::infer
