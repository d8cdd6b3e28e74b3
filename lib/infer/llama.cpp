// Decoder-only Transformers of infer/llama_options.h. Products are those of their weights, in float32, bfloat16 or 8-bit integers; keys and values of earlier
// tokens are kept in float32, or in bfloat16 with products of that; all else is float32.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <type_traits>

#include "base/buffer.h"
#include "base/error.h"
#include "infer/integer_llama.h"
#include "infer/key_pages.h"
#include "infer/llama_options.h"
#include "infer/lm_engine.h"
#include "infer/matrix.h"
#include "infer/paged_decoder.h"
#include "infer/paged_states.h"
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
    // A reward model may have been stored without what gives probabilities.
    if (!options.tie && (weights.has("lm_head.weight") || !weights.has(kScoreHead))) output_.emplace(weights, "lm_head.weight", vocabulary, options.dim);
    // Not by sizes that only config.yaml knows.
    if (options.positions == "rotary" && weights.fit()) frequencies_ = rope_frequencies(options.rope, options.head_dim);
  }

  int64_t vocabulary_size() const override { return vocabulary_; }
  int64_t max_positions() const override { return options_.max_positions; }
  /// Of a text that go through the layers together: of one whose tokens see all of it, all.
  int64_t rows_together() const { return options_.sees_all() ? options_.max_positions : kRowsTogether; }
  std::unique_ptr<SequenceDecoder> start(int threads) const override;
  std::vector<double> score(const std::vector<Tokens>& sequences, int threads) const override;
  int64_t dim() const override { return options_.dim; }
  std::vector<float> last_states(const std::vector<Tree>& trees, int threads) const override { return pooled_states(trees, Pooling::kLast, threads); }
  std::vector<float> mean_states(const std::vector<Tree>& trees, int threads) const override { return pooled_states(trees, Pooling::kMean, threads); }
  std::vector<float> output_row(int32_t token) const override {
    check_token(token, vocabulary_);
    std::vector<float> row(static_cast<size_t>(options_.dim));
    output().row(token, row.data());
    return row;
  }

  const LlamaOptions& options() const { return options_; }
  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<float>& frequencies() const { return frequencies_; }
  Pool<Workspace>& workspaces() const { return workspaces_; }

  void embed(int32_t token, int64_t position, float* out) const {
    embedding_.row(token, out);
    if (positions_.empty()) return;
    const float* row = positions_.data() + position * options_.dim;
    for (int64_t d = 0; d < options_.dim; ++d) out[d] += row[d];
  }

  /// What the output layer multiplies [rows, dim], of what the layers made.
  void states(const float* x, int64_t rows, float* out, int threads) const { (*norm_)(x, rows, out, threads); }

  /// Logits [rows, vocabulary] of what the layers made.
  void logits(const float* x, int64_t rows, Workspace& room, float* out, int threads) const {
    float* normed = room.normed.room_for(rows * options_.dim);
    states(x, rows, normed, threads);
    output().multiply(normed, rows, out, {}, room.rounded, threads);
  }

 private:
  std::vector<float> pooled_states(const std::vector<Tree>& trees, Pooling pooling, int threads) const;

  void check_predicts() const {
    if (options_.sees_all()) fail("this model sees whole texts (model.context full): it gives scores, and no probabilities of tokens");
    output();
  }

  const Matrix& output() const {
    if (!options_.tie && !output_) fail("this reward model has no output layer (lm_head.weight): it gives scores, and no probabilities of tokens");
    return options_.tie ? embedding_ : *output_;
  }

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

/// The layers over rows of sequences, which keep keys and values for those to come.
template <typename Number>
class Layers {
 public:
  using Sequence = PagedSequence<Number>;
  using Span = SequenceSpan<Sequence>;
  using Spans = std::vector<Span>;

  Layers(const Llama& model, int threads)
      : model_(model), o_(model.options()), lease_(model.workspaces().take()), room_(*lease_), threads_(threads), pages_(o_.layers * 2 * o_.kv_heads, o_.head_dim) {}

  void make_room(Sequence& sequence, int64_t count) { sequence.make_room(pages_, count); }
  void extend(Sequence& sequence, int64_t count) {
    sequence.extend(count);
    if (o_.window > 0) sequence.forget_before_window(pages_, o_.window);
  }
  Sequence branch(const Sequence& sequence) { return sequence.branch(pages_); }
  void end(Sequence& sequence) { sequence.end(pages_); }

  void run(const Spans& all_spans, const int32_t* tokens, int64_t rows, Wanted wanted) {
    const Spans* spans = &all_spans;
    float* x = room_.x.room_for(rows * o_.dim);
    for (const Span& span : all_spans) {
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
        if (wanted == Wanted::kNothing) return;
        spans = keep_last_rows(all_spans, x, qkv);
        rows = static_cast<int64_t>(spans->size());
      }
      const float* attended = attend(*spans, layer, i, qkv, rows);
      layer.out.multiply(attended, rows, x, Finish{nullptr, false, x}, room_.rounded, threads_);
      layer.ffn_norm(x, rows, normed, threads_);
      layer.down.multiply(feed_forward(layer, normed, rows), rows, x, Finish{nullptr, false, x}, room_.rounded, threads_);
    }
  }

  void logits(int64_t first, int64_t count, float* out) { model_.logits(room_.x.data() + first * o_.dim, count, room_, out, threads_); }
  void states(int64_t first, int64_t count, float* out) { model_.states(room_.x.data() + first * o_.dim, count, out, threads_); }
  Room& logits_room() { return room_.logits; }

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
    for (const Span& span : spans) {
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
    for (const Span& span : spans) {
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
    for (const Span& span : spans) {
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
    const Span* span;
    int64_t head, first, count;
    bool scattered;
    int64_t gathered;  ///< where the keys of the span lie, if they were
  };

  bool is_scattered(const Span& span) const { return span.count == 1 || (o_.window > 0 && span.start + span.count > o_.window); }
  /// Numbers to be gathered for a span.
  int64_t gathered_of(const Span& span) const { return is_scattered(span) || span.start == 0 ? 0 : (span.start + span.count) * 2 * o_.key_width(); }

  const float* attend(const Spans& spans, const Layer& layer, int64_t number, const float* qkv, int64_t rows) {
    constexpr int64_t kGathered = int64_t{1} << 21;  // at a time: prompts of many short endings are much more than their rows
    float* attended = room_.attended.room_for(rows * o_.query_width());
    for (const Span *begin = spans.data(), *last = begin + spans.size(), *end; begin < last; begin = end) {
      int64_t gathered = gathered_of(*begin);
      for (end = begin + 1; end < last && gathered + gathered_of(*end) <= kGathered; ++end) gathered += gathered_of(*end);
      attend(begin, end, layer, number, qkv, room_.gathered.room_for(gathered), attended);
    }
    return attended;
  }

  void attend(const Span* first_span, const Span* last_span, const Layer& layer, int64_t number, const float* qkv, float* gathered, float* attended) {
    constexpr int64_t kQueries = 128;  // of an item: few enough for their scores to stay near
    items_.clear();
    int64_t operations = 0, most = 0, place = 0;
    for (const Span* span = first_span; span < last_span; ++span) {
      const int64_t end = span->start + span->count;
      const bool scattered = is_scattered(*span);
      for (int64_t head = 0; head < (scattered ? o_.kv_heads : o_.heads); ++head) {
        for (int64_t first = 0; first < span->count; first += kQueries) items_.push_back({span, head, first, std::min(kQueries, span->count - first), scattered, place});
      }
      if (scattered) most = std::max(most, o_.window > 0 ? std::min(o_.window, end) : end);
      operations += 2 * span->count * end * o_.query_width();
      if (const int64_t numbers = gathered_of(*span); numbers > 0) gather(*span, number, gathered + place), place += numbers;
    }
    // Each item of a thread writes where its first one may: no thread meets another.
    const int64_t group = o_.heads / o_.kv_heads, count = static_cast<int64_t>(items_.size());
    float* weights = room_.weights.room_for(count * group * most);
    share(threads_, count, grain_of(operations / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Item& item = items_[static_cast<size_t>(i)];
        item.scattered ? attend_scattered(item, layer, number, qkv, weights + begin * group * most, attended) : attend_together(item, layer, qkv, attended);
      }
    });
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
    const Span& span = *item.span;
    const int64_t key_head = item.head / (o_.heads / o_.kv_heads), end = span.start + span.count;
    const bool gathered = span.start > 0;
    kernel::AttentionHead head{};
    head.q = qkv + (span.row + item.first) * qkv_width() + item.head * o_.head_dim;
    head.k = gathered ? room_.gathered.data() + item.gathered + key_head * end * o_.head_dim : qkv + span.row * qkv_width() + o_.query_width() + key_head * o_.head_dim;
    head.v = head.k + (gathered ? end : 1) * o_.key_width();
    head.q_stride = qkv_width();
    head.k_stride = head.v_stride = gathered ? o_.head_dim : qkv_width();
    head.q_length = item.count;
    head.k_length = o_.sees_all() ? end : span.start + item.first + item.count;
    head.dim = o_.head_dim;
    head.causal = !o_.sees_all();
    head.scale = scale();
    if (const kernel::Polynomial* polynomial = polynomials(layer, item.head)) head.polynomial = *polynomial;
    kernel::float_kernels().attention_forward(head, nullptr, attended + (span.row + item.first) * o_.query_width() + item.head * o_.head_dim, o_.query_width());
  }

  /// Keys and values of all positions of a span, and of those before it [2 * kv_heads, positions, head_dim].
  void gather(const Span& span, int64_t layer, float* all) {
    constexpr int64_t kTokens = KeyPages<Number>::kTokens;
    const int64_t end = span.start + span.count, pages = (end + kTokens - 1) / kTokens;
    const auto type = std::is_same_v<Number, float> ? kernel::NumberType::kFloat32 : kernel::NumberType::kBFloat16;
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
  Pool<Workspace>::Lease lease_;
  Workspace& room_;
  int threads_;
  KeyPages<Number> pages_;
  std::vector<Item> items_;
  Spans last_;
};

std::unique_ptr<SequenceDecoder> Llama::start(int threads) const {
  check_predicts();
  if (halves_) return std::make_unique<PagedDecoder<Llama, Layers<BFloat16>>>(*this, threads);
  return std::make_unique<PagedDecoder<Llama, Layers<float>>>(*this, threads);
}

std::vector<double> Llama::score(const std::vector<Tokens>& sequences, int threads) const {
  check_predicts();
  if (halves_) return PagedScorer<Llama, Layers<BFloat16>>(*this, threads)(sequences);
  return PagedScorer<Llama, Layers<float>>(*this, threads)(sequences);
}

std::vector<float> Llama::pooled_states(const std::vector<Tree>& trees, Pooling pooling, int threads) const {
  if (halves_) return PagedStates<Llama, Layers<BFloat16>>(*this, pooling, threads)(trees);
  return PagedStates<Llama, Layers<float>>(*this, pooling, threads)(trees);
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
    const LlamaOptions resolved = options_.resolve();
    for (const auto& [name, original] : copies()) weights.take_copy(name, original);
    if (weights.integer_mode() != "scale-propagation") return std::make_unique<Llama>(resolved, resolved.rows(tokens), weights);
    check_integer_llama(resolved);
    return make_integer_llama(resolved, resolved.rows(tokens), weights);
  }

  std::map<std::string, std::string> copies() const override {
    return options_.tie ? std::map<std::string, std::string>{{"lm_head.weight", kEmbedding}} : std::map<std::string, std::string>();
  }

  void check_scale_propagation() const override { check_integer_llama(options_); }
  IntegerPlace place_of(const std::string& tensor) const override { return place_in_integer_llama(tensor); }

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
