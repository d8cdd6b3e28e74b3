// Decoder-only Transformers of infer/llama_options.h. Products are those of their weights, in float32, bfloat16 or 8-bit integers; keys and values of earlier
// tokens are kept in float32, or in bfloat16 with products of that; all else is float32.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <type_traits>

#include "base/buffer.h"
#include "base/error.h"
#include "infer/key_pages.h"
#include "infer/llama_options.h"
#include "infer/lm_engine.h"
#include "infer/matrix.h"
#include "infer/pool.h"
#include "infer/share.h"
#include "kernel/float_kernels.h"

namespace seqmill::infer {
namespace {

using kernel::BFloat16;
using kernel::Finish;

using Room = Buffer<float>;

constexpr const char* kEmbedding = "model.embed_tokens.weight";

/// The memory of one decoder, but for its pages.
struct Workspace {
  Room x, normed, qkv, attended, gates, hidden, weights, gathered, angles, logits;
  RoundedRows rounded;
};

class Norm {
 public:
  Norm(Weights& weights, const std::string& name, const LlamaOptions& o)
      : weight_(weights.take_vector(name + ".weight", o.dim)), epsilon_(static_cast<float>(o.norm_epsilon)), kind_(o.norm) {
    if (kind_ != "rms") bias_ = weights.take_vector(name + ".bias", o.dim);
  }

  void operator()(const float* x, int64_t rows, float* out, int threads) const {
    const auto columns = static_cast<int64_t>(weight_.size());
    share(threads, rows, grain_of(4 * columns), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) normalise(x + r * columns, out + r * columns, columns);
    });
  }

 private:
  void normalise(const float* x, float* out, int64_t columns) const {
    const kernel::FloatKernels& kernels = kernel::float_kernels();
    float mean, inverse;
    if (bias_.empty()) return kernels.rms_norm(x, weight_.data(), epsilon_, out, &inverse, 1, columns);
    (kind_ == "l1" ? kernels.l1_norm : kernels.layer_norm)(x, weight_.data(), bias_.data(), epsilon_, out, &mean, &inverse, 1, columns);
  }

  std::vector<float> weight_, bias_;
  float epsilon_;
  std::string kind_;
};

/// A tensor with its adapter, if it is one of those that have one.
MatrixPart part_of(const std::string& layer, const std::string& name, int64_t outputs, const LlamaOptions& o) {
  const std::vector<std::string>& targets = o.lora.targets;
  const bool adapted = o.lora.rank > 0 && std::find(targets.begin(), targets.end(), name.substr(name.rfind('.') + 1)) != targets.end();
  return {layer + "." + name, outputs, adapted ? o.lora.rank : 0, adapted ? o.lora.alpha / static_cast<double>(o.lora.rank) : 0};
}

std::vector<float> take_biases(Weights& weights, const std::string& attention, const LlamaOptions& o) {
  std::vector<float> all;
  if (!o.qkv_bias) return all;
  for (const auto& [name, width] : {std::pair("q", o.query_width()), std::pair("k", o.key_width()), std::pair("v", o.key_width())}) {
    const std::vector<float> bias = weights.take_vector(fmt::format("{}.{}_proj.bias", attention, name), width);
    all.insert(all.end(), bias.begin(), bias.end());
  }
  return all;
}

/// A polynomial for each head; none for softmax.
std::vector<kernel::Polynomial> take_polynomials(Weights& weights, const std::string& attention, const LlamaOptions& o) {
  std::vector<kernel::Polynomial> polynomials;
  if (o.polynomial.degree == 0) return polynomials;
  const std::vector<float> bias = weights.take_vector(attention + ".polynomial.bias", o.heads), delta = weights.take_vector(attention + ".polynomial.delta", o.heads);
  for (size_t h = 0; h < std::min(bias.size(), delta.size()); ++h) polynomials.push_back({static_cast<int>(o.polynomial.degree), bias[h], delta[h]});
  return polynomials;
}

/// Queries, keys and values are computed together, and so are gates and values of the feed-forward layer.
struct Layer {
  Layer(Weights& weights, const std::string& name, const LlamaOptions& o)
      : attention_norm(weights, name + ".input_layernorm", o),
        qkv(weights, {part_of(name, "self_attn.q_proj", o.query_width(), o), part_of(name, "self_attn.k_proj", o.key_width(), o),
                      part_of(name, "self_attn.v_proj", o.key_width(), o)}, o.dim),
        qkv_bias(take_biases(weights, name + ".self_attn", o)),
        polynomials(take_polynomials(weights, name + ".self_attn", o)),
        out(weights, {part_of(name, "self_attn.o_proj", o.dim, o)}, o.query_width()),
        ffn_norm(weights, name + ".post_attention_layernorm", o),
        up(weights, up_parts(name, o), o.dim),
        down(weights, {part_of(name, "mlp.down_proj", o.dim, o)}, o.ffn) {}

  static std::vector<MatrixPart> up_parts(const std::string& name, const LlamaOptions& o) {
    std::vector<MatrixPart> parts;
    if (o.activation == "swiglu") parts.push_back(part_of(name, "mlp.gate_proj", o.ffn, o));
    parts.push_back(part_of(name, "mlp.up_proj", o.ffn, o));
    return parts;
  }

  Norm attention_norm;
  Matrix qkv;
  std::vector<float> qkv_bias;
  std::vector<kernel::Polynomial> polynomials;
  Matrix out;
  Norm ffn_norm;
  Matrix up, down;
};

class Llama final : public LanguageModel {
 public:
  Llama(const LlamaOptions& options, int64_t vocabulary, Weights& weights)
      : options_(options),
        vocabulary_(vocabulary),
        halves_(weights.rounds_to_bfloat16()),
        embedding_(weights, kEmbedding, vocabulary, options.dim) {
    if (options.positions == "learned") {
      const Numbers table = weights.take("model.embed_positions.weight", {options.max_positions, options.dim});
      if (table.data()) positions_.assign(table.data(), table.data() + options.max_positions * options.dim);
    }
    for (int64_t i = 0; i < options.layers; ++i) layers_.emplace_back(weights, fmt::format("model.layers.{}", i), options);
    norm_.emplace(weights, "model.norm", options);
    if (!options.tie) output_.emplace(weights, "lm_head.weight", vocabulary, options.dim);
    if (options.tie) weights.take_copy("lm_head.weight", "model.embed_tokens.weight");
    // Not by sizes that only config.yaml knows.
    if (options.positions == "rotary" && weights.fit()) frequencies_ = rope_frequencies(options.rope, options.head_dim);
  }

  int64_t vocabulary_size() const override { return vocabulary_; }
  int64_t max_positions() const override { return options_.max_positions; }
  std::unique_ptr<SequenceDecoder> start(int threads) const override;
  std::vector<double> score(const std::vector<Tokens>& sequences, int threads) const override;

  const LlamaOptions& options() const { return options_; }
  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<float>& frequencies() const { return frequencies_; }
  Pool<Workspace>& workspaces() const { return workspaces_; }

  void check_token(int32_t token) const {
    if (token < 0 || token >= vocabulary_) fail("token {} is outside the vocabulary of {}", token, vocabulary_);
  }
  void check_length(int64_t tokens) const {
    if (tokens > options_.max_positions) fail("a sequence of {} tokens is longer than the {} positions of the model (model.max-positions)", tokens, options_.max_positions);
  }

  void embed(int32_t token, int64_t position, float* out) const {
    embedding_.row(token, out);
    if (positions_.empty()) return;
    const float* row = positions_.data() + position * options_.dim;
    for (int64_t d = 0; d < options_.dim; ++d) out[d] += row[d];
  }

  /// Logits [rows, vocabulary] of what the layers made.
  void logits(const float* x, int64_t rows, Workspace& room, float* out, int threads) const {
    float* normed = room.normed.room_for(rows * options_.dim);
    (*norm_)(x, rows, normed, threads);
    (output_ ? *output_ : embedding_).multiply(normed, rows, out, {}, room.rounded, threads);
  }

 private:
  LlamaOptions options_;
  int64_t vocabulary_;
  bool halves_;
  Matrix embedding_;
  std::vector<float> positions_, frequencies_;  ///< learned positions; of rotary ones
  std::vector<Layer> layers_;
  std::optional<Norm> norm_;
  std::optional<Matrix> output_;  ///< where it is not the embedding
  mutable Pool<Workspace> workspaces_;
};

/// Rows of what is computed together: rows row .. row + count - 1 are the positions start .. of a sequence that has room for them.
template <typename Number>
struct Span {
  PagedSequence<Number>* sequence;
  int64_t row, count, start;
};

/// What is to be known of rows that went through the layers.
enum class Wanted { kAll, kLasts, kNothing };

/// The layers over rows of sequences, which keep keys and values for those to come.
template <typename Number>
class Layers {
 public:
  using Spans = std::vector<Span<Number>>;

  Layers(const Llama& model, Workspace& room, int threads)
      : model_(model), o_(model.options()), room_(room), threads_(threads), pages_(o_.layers * 2 * o_.kv_heads, o_.head_dim) {}

  KeyPages<Number>& pages() { return pages_; }

  /// Spans of tokens, whose rows follow one another. Returns hidden states [rows, dim]; of Wanted::kLasts, those of the last row of each
  /// span [spans, dim].
  const float* run(const Spans& all_spans, const int32_t* tokens, int64_t rows, Wanted wanted = Wanted::kAll) {
    const Spans* spans = &all_spans;
    float* x = room_.x.room_for(rows * o_.dim);
    for (const Span<Number>& span : all_spans) {
      for (int64_t i = 0; i < span.count; ++i) model_.embed(tokens[span.row + i], span.start + i, x + (span.row + i) * o_.dim);
    }
    find_angles(all_spans, rows);
    float* normed = room_.normed.room_for(rows * o_.dim);
    float* qkv = room_.qkv.room_for(rows * qkv_width());
    for (int64_t i = 0; i < o_.layers; ++i) {
      const Layer& layer = model_.layers()[static_cast<size_t>(i)];
      layer.attention_norm(x, rows, normed, threads_);
      layer.qkv.multiply(normed, rows, qkv, Finish{layer.qkv_bias.empty() ? nullptr : layer.qkv_bias.data(), false, nullptr}, room_.rounded, threads_);
      keep_keys(all_spans, i, qkv, rows);
      if (i + 1 == o_.layers && wanted != Wanted::kAll) {
        if (wanted == Wanted::kNothing) return nullptr;
        spans = keep_last_rows(all_spans, x, qkv);
        rows = static_cast<int64_t>(spans->size());
      }
      const float* attended = attend(*spans, layer, i, qkv, rows);
      layer.out.multiply(attended, rows, x, Finish{nullptr, false, x}, room_.rounded, threads_);
      layer.ffn_norm(x, rows, normed, threads_);
      layer.down.multiply(feed_forward(layer, normed, rows), rows, x, Finish{nullptr, false, x}, room_.rounded, threads_);
    }
    return x;
  }

 private:
  /// Where a layer's keys of a head lie behind the first part of a token; its values are kv_heads further.
  int64_t place_of(int64_t layer, int64_t head) const { return (layer * 2 * o_.kv_heads + head) * pages_.part_stride(); }
  int64_t qkv_width() const { return o_.query_width() + 2 * o_.key_width(); }

  /// Cosines and sines of rotary positions, by row.
  void find_angles(const Spans& spans, int64_t rows) {
    const std::vector<float>& frequencies = model_.frequencies();
    const size_t half = frequencies.size();
    if (half == 0) return;
    float* angles = room_.angles.room_for(rows * o_.head_dim);
    for (const Span<Number>& span : spans) {
      for (int64_t i = 0; i < span.count; ++i) {
        float* row = angles + (span.row + i) * o_.head_dim;
        for (size_t k = 0; k < half; ++k) {
          const float angle = static_cast<float>(span.start + i) * frequencies[k];
          row[k] = std::cos(angle);
          row[half + k] = std::sin(angle);
        }
      }
    }
  }

  /// Turns queries and keys by their positions, and writes keys and values into the pages.
  void keep_keys(const Spans& spans, int64_t layer, float* qkv, int64_t rows) {
    const int64_t half = static_cast<int64_t>(model_.frequencies().size()), width = qkv_width();
    for (const Span<Number>& span : spans) {
      share(rows == 1 ? 1 : threads_, span.count, grain_of(4 * width), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          float* row = qkv + (span.row + i) * width;
          if (half > 0) {
            const float* angles = room_.angles.data() + (span.row + i) * o_.head_dim;
            kernel::float_kernels().rotate(row, row, angles, angles + half, false, o_.heads + o_.kv_heads, half);
          }
          Number* to = span.sequence->token(span.start + i) + place_of(layer, 0);
          const float* from = row + o_.query_width();
          for (int64_t part = 0; part < 2 * o_.kv_heads; ++part, from += o_.head_dim, to += pages_.part_stride()) {
            if constexpr (std::is_same_v<Number, float>) {
              std::memcpy(to, from, static_cast<size_t>(o_.head_dim) * sizeof(float));
            } else {
              kernel::float_kernels().to_bfloat16(from, to, o_.head_dim);
            }
          }
        }
      });
    }
  }

  const Spans* keep_last_rows(const Spans& spans, float* x, float* qkv) {
    last_.clear();
    for (const Span<Number>& span : spans) {
      // No span is shorter than a row: what is moved to has been moved.
      const int64_t to = static_cast<int64_t>(last_.size()), from = span.row + span.count - 1;
      std::memmove(x + to * o_.dim, x + from * o_.dim, static_cast<size_t>(o_.dim) * sizeof(float));
      std::memmove(qkv + to * qkv_width(), qkv + from * qkv_width(), static_cast<size_t>(o_.query_width()) * sizeof(float));
      last_.push_back({span.sequence, to, 1, span.start + span.count - 1});
    }
    return &last_;
  }

  const float* feed_forward(const Layer& layer, const float* x, int64_t rows) {
    float* hidden = room_.hidden.room_for(rows * o_.ffn);
    const bool gated = o_.activation == "swiglu";
    float* upper = gated ? room_.gates.room_for(rows * 2 * o_.ffn) : hidden;
    layer.up.multiply(x, rows, upper, Finish{nullptr, o_.activation == "relu", nullptr}, room_.rounded, threads_);
    if (o_.activation == "relu") return hidden;
    share(threads_, rows, grain_of(16 * o_.ffn), [&](int64_t begin, int64_t end) {
      if (gated) {
        kernel::float_kernels().swiglu(upper + begin * 2 * o_.ffn, hidden + begin * o_.ffn, end - begin, o_.ffn);
      } else {
        kernel::float_kernels().gelu(hidden + begin * o_.ffn, (end - begin) * o_.ffn);
      }
    });
    return hidden;
  }

  /// Queries of a span that one thread computes together: of one head, or with `scattered` of a group of heads, whose keys are looked up in the pages.
  struct Item {
    const Span<Number>* span;
    int64_t head, first, count;
    bool scattered;
  };

  const float* attend(const Spans& spans, const Layer& layer, int64_t number, const float* qkv, int64_t rows) {
    constexpr int64_t kQueries = 128;  // of an item: few enough for their scores to stay near
    items_.clear();
    int64_t operations = 0, most = 0;
    for (const Span<Number>& span : spans) {
      const int64_t end = span.start + span.count;
      const bool scattered = span.count == 1 || (o_.window > 0 && end > o_.window);
      for (int64_t head = 0; head < (scattered ? o_.kv_heads : o_.heads); ++head) {
        for (int64_t first = 0; first < span.count; first += kQueries) items_.push_back({&span, head, first, std::min(kQueries, span.count - first), scattered});
      }
      if (scattered) most = std::max(most, o_.window > 0 ? std::min(o_.window, end) : end);
      operations += 2 * span.count * end * o_.query_width();
      if (!scattered && span.start > 0) gather(span, number);
    }
    float* attended = room_.attended.room_for(rows * o_.query_width());
    // Each item of a thread writes where its first one may: no thread meets another.
    const int64_t group = o_.heads / o_.kv_heads, count = static_cast<int64_t>(items_.size());
    float* weights = room_.weights.room_for(count * group * most);
    share(threads_, count, grain_of(operations / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Item& item = items_[static_cast<size_t>(i)];
        item.scattered ? attend_scattered(item, layer, number, qkv, weights + begin * group * most, attended) : attend_together(item, layer, qkv, attended);
      }
    });
    return attended;
  }

  const kernel::Polynomial* polynomials(const Layer& layer, int64_t head) const { return layer.polynomials.empty() ? nullptr : layer.polynomials.data() + head; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(o_.head_dim)); }

  void attend_scattered(const Item& item, const Layer& layer, int64_t number, const float* qkv, float* weights, float* attended) {
    const int64_t group = o_.heads / o_.kv_heads, first_head = item.head * group;
    for (int64_t i = item.first; i < item.first + item.count; ++i) {
      const int64_t row = item.span->row + i, before = item.span->start + i + 1, count = o_.window > 0 ? std::min(o_.window, before) : before;
      const kernel::ScatteredKeys<Number> keys{item.span->sequence->tokens(before - count), count, place_of(number, item.head), place_of(number, o_.kv_heads + item.head)};
      const float* q = qkv + row * qkv_width() + first_head * o_.head_dim;
      float* out = attended + row * o_.query_width() + first_head * o_.head_dim;
      attend_kernel()(q, keys, group, group, o_.head_dim, scale(), polynomials(layer, first_head), weights, out);
    }
  }

  static auto attend_kernel() {
    if constexpr (std::is_same_v<Number, float>) return kernel::packed_kernels().attend;
    else return kernel::packed_kernels().attend_bfloat16;
  }

  void attend_together(const Item& item, const Layer& layer, const float* qkv, float* attended) {
    const Span<Number>& span = *item.span;
    const int64_t key_head = item.head / (o_.heads / o_.kv_heads), end = span.start + span.count;
    const bool gathered = span.start > 0;
    kernel::AttentionHead head{};
    head.q = qkv + (span.row + item.first) * qkv_width() + item.head * o_.head_dim;
    head.k = gathered ? room_.gathered.data() + key_head * end * o_.head_dim : qkv + span.row * qkv_width() + o_.query_width() + key_head * o_.head_dim;
    head.v = head.k + (gathered ? end : 1) * o_.key_width();
    head.q_stride = qkv_width();
    head.k_stride = head.v_stride = gathered ? o_.head_dim : qkv_width();
    head.q_length = item.count;
    head.k_length = span.start + item.first + item.count;
    head.dim = o_.head_dim;
    head.causal = true;
    head.scale = scale();
    if (const kernel::Polynomial* polynomial = polynomials(layer, item.head)) head.polynomial = *polynomial;
    kernel::float_kernels().attention_forward(head, nullptr, attended + (span.row + item.first) * o_.query_width() + item.head * o_.head_dim, o_.query_width());
  }

  /// Keys and values of all positions of a span, and of those before it [2 * kv_heads, positions, head_dim].
  void gather(const Span<Number>& span, int64_t layer) {
    constexpr int64_t kTokens = KeyPages<Number>::kTokens;
    const int64_t end = span.start + span.count, pages = (end + kTokens - 1) / kTokens;
    const auto type = std::is_same_v<Number, float> ? kernel::NumberType::kFloat32 : kernel::NumberType::kBFloat16;
    float* all = room_.gathered.room_for(end * 2 * o_.key_width());
    share(threads_, pages, grain_of(kTokens * 2 * o_.key_width()), [&](int64_t begin, int64_t last) {
      for (int64_t t = begin * kTokens; t < std::min(end, last * kTokens); t += kTokens) {
        const int64_t count = std::min(kTokens, end - t);
        for (int64_t part = 0; part < 2 * o_.kv_heads; ++part) {
          kernel::packed_kernels().widen(span.sequence->token(t) + place_of(layer, part), type, count * o_.head_dim, all + (part * end + t) * o_.head_dim);
        }
      }
    });
  }

  const Llama& model_;
  const LlamaOptions& o_;
  Workspace& room_;
  int threads_;
  KeyPages<Number> pages_;
  std::vector<Item> items_;
  Spans last_;
};

/// Rows that go through the layers together: longer sequences take turns, so that memory stays bounded.
constexpr int64_t kRows = 512;

template <typename Number>
class Decoder final : public SequenceDecoder {
 public:
  Decoder(const Llama& model, int threads) : model_(model), threads_(threads), room_(model.workspaces().take()), layers_(model, *room_, threads) {}

  Handle begin(const Tokens& tokens, float* logprobs) override {
    check(tokens);
    const auto length = static_cast<int64_t>(tokens.size());
    PagedSequence<Number> sequence;
    const float* last = nullptr;
    try {
      for (int64_t first = 0; first < length; first += kRows) {
        const int64_t count = std::min(kRows, length - first);
        sequence.make_room(layers_.pages(), count);
        const bool wanted = logprobs && first + count == length;
        last = layers_.run({{&sequence, 0, count, first}}, tokens.data() + first, count, wanted ? Wanted::kLasts : Wanted::kNothing);
        extend(sequence, count);
      }
      if (logprobs) find_logprobs(last, 1, logprobs);
      return keep(std::move(sequence));
    } catch (...) {
      sequence.end(layers_.pages());
      throw;
    }
  }

  std::vector<Handle> begin_all(const std::vector<Beginning>& beginnings) override {
    for (const Beginning& beginning : beginnings) check(*beginning.tokens);
    std::vector<Handle> handles;
    for (size_t first = 0, end; first < beginnings.size(); first = end) {
      auto rows = static_cast<int64_t>(beginnings[first].tokens->size());
      for (end = first + 1; end < beginnings.size() && rows + static_cast<int64_t>(beginnings[end].tokens->size()) <= kRows; ++end) {
        rows += static_cast<int64_t>(beginnings[end].tokens->size());
      }
      if (end == first + 1) handles.push_back(begin(*beginnings[first].tokens, beginnings[first].logprobs));
      else begin_together(beginnings.data() + first, beginnings.data() + end, handles);
    }
    return handles;
  }

  Handle branch(Handle sequence) override { return keep(sequences_[index_of(sequence)].branch(layers_.pages())); }

  void end(Handle sequence) override {
    const size_t index = index_of(sequence);
    sequences_[index].end(layers_.pages());
    idle_.push_back(sequence);
  }

  float* advance(const std::vector<Handle>& sequences, const std::vector<int32_t>& tokens) override {
    const auto rows = static_cast<int64_t>(sequences.size());
    // Nothing has changed when something is wrong.
    handles_ = sequences;
    std::sort(handles_.begin(), handles_.end());
    const auto twice = std::adjacent_find(handles_.begin(), handles_.end());
    if (twice != handles_.end()) fail("sequence {} was to go on twice in one step", *twice);
    spans_.clear();
    for (size_t i = 0; i < sequences.size(); ++i) {
      PagedSequence<Number>& sequence = sequences_[index_of(sequences[i])];
      model_.check_length(sequence.length() + 1);
      model_.check_token(tokens.at(i));
      spans_.push_back({&sequence, static_cast<int64_t>(i), 1, sequence.length()});
    }
    for (const Span<Number>& span : spans_) span.sequence->make_room(layers_.pages(), 1);
    const float* x = layers_.run(spans_, tokens.data(), rows);
    for (const Span<Number>& span : spans_) extend(*span.sequence, 1);
    float* out = room_->logits.room_for(rows * model_.vocabulary_size());
    find_logprobs(x, rows, out);
    return out;
  }

 private:
  void check(const Tokens& tokens) const {
    if (tokens.empty()) fail("a sequence of no tokens has no next one: it needs a begin symbol at least");
    model_.check_length(static_cast<int64_t>(tokens.size()));
    for (const int32_t token : tokens) model_.check_token(token);
  }

  /// Of kRows tokens at most.
  void begin_together(const Beginning* begin, const Beginning* end, std::vector<Handle>& handles) {
    std::vector<PagedSequence<Number>> sequences(static_cast<size_t>(end - begin));
    try {
      Tokens tokens;
      std::vector<Span<Number>> spans;
      for (size_t i = 0; i < sequences.size(); ++i) {
        const auto count = static_cast<int64_t>(begin[i].tokens->size());
        sequences[i].make_room(layers_.pages(), count);
        spans.push_back({&sequences[i], static_cast<int64_t>(tokens.size()), count, 0});
        tokens.insert(tokens.end(), begin[i].tokens->begin(), begin[i].tokens->end());
      }
      const float* lasts = layers_.run(spans, tokens.data(), static_cast<int64_t>(tokens.size()), Wanted::kLasts);
      for (const Span<Number>& span : spans) extend(*span.sequence, span.count);
      const int64_t size = model_.vocabulary_size(), rows = static_cast<int64_t>(sequences.size());
      float* logprobs = room_->logits.room_for(rows * size);
      find_logprobs(lasts, rows, logprobs);
      for (int64_t i = 0; i < rows; ++i) {
        if (begin[i].logprobs) std::copy_n(logprobs + i * size, size, begin[i].logprobs);
      }
    } catch (...) {
      for (PagedSequence<Number>& sequence : sequences) sequence.end(layers_.pages());
      throw;
    }
    for (PagedSequence<Number>& sequence : sequences) handles.push_back(keep(std::move(sequence)));
  }

  size_t index_of(Handle sequence) const {
    const bool known = sequence >= 0 && static_cast<size_t>(sequence) < sequences_.size() && sequences_[static_cast<size_t>(sequence)].length() > 0;
    if (!known) fail("there is no sequence {} under way", sequence);
    return static_cast<size_t>(sequence);
  }

  Handle keep(PagedSequence<Number> sequence) {
    if (idle_.empty()) {
      idle_.reserve(sequences_.size() + 1);
      sequences_.push_back(std::move(sequence));
      return static_cast<Handle>(sequences_.size() - 1);
    }
    const Handle handle = idle_.back();
    idle_.pop_back();
    sequences_[static_cast<size_t>(handle)] = std::move(sequence);
    return handle;
  }

  void extend(PagedSequence<Number>& sequence, int64_t count) {
    sequence.extend(count);
    if (model_.options().window > 0) sequence.forget_before_window(layers_.pages(), model_.options().window);
  }

  void find_logprobs(const float* x, int64_t rows, float* out) {
    const int64_t size = model_.vocabulary_size();
    model_.logits(x, rows, *room_, out, threads_);
    share(threads_, rows, grain_of(16 * size), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) kernel::float_kernels().log_softmax(out + r * size, size);
    });
  }

  const Llama& model_;
  int threads_;
  Pool<Workspace>::Lease room_;
  Layers<Number> layers_;
  std::vector<PagedSequence<Number>> sequences_;
  std::vector<Handle> idle_, handles_;
  std::vector<Span<Number>> spans_;
};

/// Log-probabilities of given tokens: short sequences together, longer ones alone, in parts.
template <typename Number>
class Scorer {
 public:
  Scorer(const Llama& model, int threads) : model_(model), threads_(threads), room_(model.workspaces().take()), layers_(model, *room_, threads) {}

  std::vector<double> operator()(const std::vector<Tokens>& sequences) {
    for (const Tokens& sequence : sequences) {
      model_.check_length(inputs(sequence));
      for (const int32_t token : sequence) model_.check_token(token);
    }
    std::vector<double> logprobs;
    for (size_t begin = 0, end; begin < sequences.size(); begin = end) {
      int64_t rows = inputs(sequences[begin]);
      for (end = begin + 1; end < sequences.size() && rows + inputs(sequences[end]) <= kRows; ++end) rows += inputs(sequences[end]);
      score(sequences.data() + begin, sequences.data() + end, logprobs);
    }
    return logprobs;
  }

 private:
  /// The last token is no input.
  static int64_t inputs(const Tokens& sequence) { return std::max<int64_t>(0, static_cast<int64_t>(sequence.size()) - 1); }

  /// Of one sequence, or of several that have kRows tokens at most.
  void score(const Tokens* begin, const Tokens* end, std::vector<double>& logprobs) {
    std::vector<PagedSequence<Number>> kept(static_cast<size_t>(end - begin));
    const int64_t longest = inputs(*begin);  // of several, none exceeds one turn
    for (int64_t start = 0; start < std::max<int64_t>(longest, 1); start += kRows) {
      std::vector<Span<Number>> spans;
      Tokens tokens, targets;
      for (const Tokens* sequence = begin; sequence < end; ++sequence) {
        const int64_t count = std::min(kRows, inputs(*sequence) - start);
        if (count <= 0) continue;
        PagedSequence<Number>& pages = kept[static_cast<size_t>(sequence - begin)];
        pages.make_room(layers_.pages(), count);
        spans.push_back({&pages, static_cast<int64_t>(tokens.size()), count, start});
        tokens.insert(tokens.end(), sequence->begin() + start, sequence->begin() + start + count);
        targets.insert(targets.end(), sequence->begin() + start + 1, sequence->begin() + start + 1 + count);
      }
      if (tokens.empty()) break;
      const float* x = layers_.run(spans, tokens.data(), static_cast<int64_t>(tokens.size()));
      for (const Span<Number>& span : spans) span.sequence->extend(span.count);
      find_logprobs(x, targets, logprobs);
    }
    for (PagedSequence<Number>& sequence : kept) sequence.end(layers_.pages());
  }

  void find_logprobs(const float* x, const Tokens& targets, std::vector<double>& logprobs) {
    constexpr int64_t kNear = 96;  // rows whose logits are still near when they are summed
    const int64_t size = model_.vocabulary_size(), rows = static_cast<int64_t>(targets.size());
    const size_t before = logprobs.size();
    logprobs.resize(before + targets.size());
    for (int64_t first = 0; first < rows; first += kNear) {
      const int64_t count = std::min(kNear, rows - first);
      float* logits = room_->logits.room_for(kNear * size);
      model_.logits(x + first * model_.options().dim, count, *room_, logits, threads_);
      share(threads_, count, grain_of(16 * size), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          float nll;
          kernel::float_kernels().cross_entropy(logits + r * size, nullptr, size, targets[static_cast<size_t>(first + r)], 0, false, &nll);
          logprobs[before + static_cast<size_t>(first + r)] = -static_cast<double>(nll);
        }
      });
    }
  }

  const Llama& model_;
  int threads_;
  Pool<Workspace>::Lease room_;
  Layers<Number> layers_;
};

std::unique_ptr<SequenceDecoder> Llama::start(int threads) const {
  if (halves_) return std::make_unique<Decoder<BFloat16>>(*this, threads);
  return std::make_unique<Decoder<float>>(*this, threads);
}

std::vector<double> Llama::score(const std::vector<Tokens>& sequences, int threads) const {
  if (halves_) return Scorer<BFloat16>(*this, threads)(sequences);
  return Scorer<float>(*this, threads)(sequences);
}

class LlamaConfig final : public LmEngineConfig {
 public:
  void declare(Options& options) override { options_.declare(options); }

  LmSize size(int64_t tokens) const override {
    const LlamaOptions resolved = options_.resolve();
    const int64_t rows = resolved.rows(tokens);
    const LlamaSize size = size_of(resolved, rows);
    const int64_t on_their_way = 2 * resolved.dim + 2 * resolved.query_width() + 2 * resolved.key_width() + 3 * resolved.ffn;
    return {size.parameters, size.cache_numbers, resolved.max_positions, rows, on_their_way};
  }

  std::unique_ptr<LanguageModel> build(int64_t tokens, Weights& weights) const override {
    if (weights.integer_mode() == "scale-propagation") weights.refuse_mode("models of other types");
    const LlamaOptions resolved = options_.resolve();
    return std::make_unique<Llama>(resolved, resolved.rows(tokens), weights);
  }

  std::string module_of(const io::TensorRecord& record) const override {
    const auto holds = [&](const char* part) { return record.name.find(part) != std::string::npos; };
    if (record.shape.size() != 2 || holds(".lora_")) return "";
    if (record.name == kEmbedding) return "embedding";
    if (record.name == "lm_head.weight") return "output";
    if (holds("_proj.weight")) return holds(".self_attn.") ? "attention" : "ffn";
    return "";
  }

 private:
  LlamaOptions options_;
};

const Registration<LmEngineType> registered{"llama", {[] { return std::make_unique<LlamaConfig>(); }}};

}  // namespace
}  // namespace seqmill::infer
