// The decoder-only Transformer in integers: Scale Propagation (Lin et al., 2020, "Towards Fully 8-bit Integer Inference for the Transformer Model") of the models
// of infer/llama_options.h that have neither exponentials nor roots nor sines. Logits alone are made real.

#include "infer/integer_llama.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/strings.h"
#include "infer/integer_blocks.h"
#include "infer/integer_reader.h"
#include "infer/key_pages.h"
#include "infer/paged_decoder.h"
#include "infer/pool.h"

namespace seqmill::infer {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens";

template <typename Number>
struct Layer {
  Layer(IntegerReader<Number>& reader, const std::string& name, const LlamaOptions& o)
      : attention(reader, name + ".self_attn", reader.norm(name + ".input_layernorm", o.dim, o.norm_epsilon)),
        heads(reader.heads(name + ".self_attn", o.heads, o.polynomial.degree, attention.limit)),
        q(reader.linear(name + ".self_attn.q_proj", o.dim, o.query_width(), o.qkv_bias)),
        k(reader.linear(name + ".self_attn.k_proj", o.dim, o.key_width(), o.qkv_bias)),
        v(reader.linear(name + ".self_attn.v_proj", o.dim, o.key_width(), o.qkv_bias)),
        out(reader.linear(name + ".self_attn.o_proj", o.query_width(), o.dim, false)),
        ffn(reader, name + ".mlp", reader.norm(name + ".post_attention_layernorm", o.dim, o.norm_epsilon)),
        up(reader.linear(name + ".mlp.up_proj", o.dim, o.ffn, false)),
        down(reader.linear(name + ".mlp.down_proj", o.ffn, o.dim, false)) {}

  IntegerSubLayer<Number> attention;
  std::vector<typename IntegerAttention<Number>::Head> heads;
  IntegerLinear<Number> q, k, v, out;
  IntegerSubLayer<Number> ffn;
  IntegerLinear<Number> up, down;
};

/// The memory of one decoder, but for its pages.
template <typename Number>
struct Workspace {
  IntegerRows<Number> x, normed, attended, hidden;
  Buffer<Number> q;
  Buffer<Scale> q_scales;
  std::vector<BlockRoom<Number>> rooms;
  Buffer<float> logits;
};

template <typename Number>
class IntegerLlama final : public LanguageModel {
 public:
  IntegerLlama(const LlamaOptions& options, const IntegerSettings& settings, int64_t vocabulary, Weights& weights)
      : options_(options), settings_(settings), vocabulary_(vocabulary) {
    IntegerReader<Number> reader(weights, settings_);
    reader.check_width(options.dim);
    embedding_ = reader.matrix(std::string(kEmbedding) + ".weight", vocabulary, options.dim);
    std::vector<float> scales;
    positions_ = reader.numbers("model.embed_positions.weight", {options.max_positions, options.dim}, scales, options.max_positions);
    for (const float scale : scales) position_scales_.emplace_back(scale);
    embedding_limit_ = settings_.limit_of(kEmbedding);
    for (int64_t i = 0; i < options.layers; ++i) layers_.emplace_back(reader, fmt::format("model.layers.{}", i), options);
    layers_.back().ffn.residual_limit = std::max(layers_.back().ffn.residual_limit, settings_.limit_of("last-residual"));
    norm_ = reader.norm("model.norm", options.dim, options.norm_epsilon);
    norm_limit_ = std::max(settings_.limit_of("model.norm"), settings_.limit_of("last-norm"));
    if (!options.tie) output_.emplace(reader.matrix("lm_head.weight", vocabulary, options.dim));
  }

  int64_t vocabulary_size() const override { return vocabulary_; }
  int64_t max_positions() const override { return sizeof(Number) == 1 ? std::min(options_.max_positions, kernel::kMostInt8Keys) : options_.max_positions; }
  std::unique_ptr<SequenceDecoder> start(int threads) const override;
  std::vector<double> score(const std::vector<Tokens>& sequences, int threads) const override;

  const LlamaOptions& options() const { return options_; }
  const Requantising& how() const { return settings_.how; }
  const std::vector<Layer<Number>>& layers() const { return layers_; }
  const IntegerMatrix<Number>& embedding() const { return embedding_; }
  int64_t embedding_limit() const { return embedding_limit_; }
  ScaledRow<Number> position(int64_t index) const { return {positions_.data() + index * options_.dim, position_scales_[static_cast<size_t>(index)]}; }
  const IntegerNorm<Number>& norm() const { return norm_; }
  int64_t norm_limit() const { return norm_limit_; }
  const IntegerMatrix<Number>& output() const { return output_ ? *output_ : embedding_; }
  Pool<Workspace<Number>>& workspaces() const { return workspaces_; }

 private:
  LlamaOptions options_;
  IntegerSettings settings_;
  int64_t vocabulary_;
  IntegerMatrix<Number> embedding_;
  std::vector<Number> positions_;
  std::vector<Scale> position_scales_;
  int64_t embedding_limit_ = 0, norm_limit_ = 0;
  std::vector<Layer<Number>> layers_;
  IntegerNorm<Number> norm_;
  std::optional<IntegerMatrix<Number>> output_;  ///< where it is not the embedding
  mutable Pool<Workspace<Number>> workspaces_;
};

/// The keys and values of a sequence, by layer, and their scales. What was written is never re-scaled.
template <typename Number>
struct IntegerSequence {
  PagedSequence<Number> keys;
  PagedSequence<Scale> scales;
  int64_t length() const { return keys.length(); }
};

/// The layers over rows of sequences; for PagedDecoder. No row depends on another but by keys, so that neither blocks nor threads change anything.
template <typename Number>
class IntegerLayers {
 public:
  using Sequence = IntegerSequence<Number>;
  using Span = SequenceSpan<Sequence>;

  IntegerLayers(const IntegerLlama<Number>& model, int threads)
      : model_(model),
        o_(model.options()),
        by_head_(model.how().granularity == Granularity::kHead),
        groups_(by_head_ ? o_.heads : 1),
        key_groups_(by_head_ ? o_.kv_heads : 1),
        lease_(model.workspaces().take()),
        room_(*lease_),
        threads_(threads),
        keys_(o_.layers, 2 * o_.key_width()),
        scales_(o_.layers, 2 * key_groups_) {}

  void make_room(Sequence& sequence, int64_t count) {
    sequence.keys.make_room(keys_, count);
    sequence.scales.make_room(scales_, count);
  }
  void extend(Sequence& sequence, int64_t count) {
    sequence.keys.extend(count);
    sequence.scales.extend(count);
  }
  Sequence branch(const Sequence& sequence) { return {sequence.keys.branch(keys_), sequence.scales.branch(scales_)}; }
  void end(Sequence& sequence) {
    sequence.keys.end(keys_);
    sequence.scales.end(scales_);
  }

  void run(const std::vector<Span>& spans, const int32_t* tokens, int64_t rows, Wanted wanted) {
    find_rows(spans);
    room_.x.resize(rows, o_.dim);
    room_.normed.resize(rows, o_.dim);
    room_.attended.resize(rows, o_.query_width());
    room_.hidden.resize(rows, o_.ffn);
    room_.q.room_for(rows * o_.query_width());
    room_.q_scales.room_for(rows * groups_);
    into_blocks(rows, threads_, blocks_);
    share_blocks(o_.dim, [&](BlockWork<Number> work, const Block& block) { embed(work, block, tokens); });
    for (int64_t i = 0; i < o_.layers; ++i) {
      const Layer<Number>& layer = model_.layers()[static_cast<size_t>(i)];
      share_blocks(o_.dim * (o_.query_width() + 2 * o_.key_width()), [&](BlockWork<Number> work, const Block& block) { keep_keys(work, block, layer, i); });
      if (i + 1 == o_.layers && wanted == Wanted::kNothing) return;
      if (i + 1 == o_.layers && wanted == Wanted::kLasts) keep_last_rows(spans);
      share_blocks(o_.dim * (o_.query_width() + 2 * o_.ffn), [&](BlockWork<Number> work, const Block& block) {
        attend(work, block, layer, i);
        work.add(block, layer.out, layer.attention.residual_limit, room_.attended, room_.x);
        work.normalise(block, layer.ffn.norm, layer.ffn.norm_limit, room_.x, room_.normed);
        work.multiply(block, layer.up, layer.ffn.limit, true, room_.normed, room_.hidden);
        work.add(block, layer.down, layer.ffn.residual_limit, room_.hidden, room_.x);
      });
    }
  }

  void logits(int64_t first, int64_t count, float* out) {
    into_blocks(count, threads_, blocks_);
    for (Block& block : blocks_) block.first += first;
    const int64_t size = model_.vocabulary_size();
    share_blocks(o_.dim * size, [&](BlockWork<Number> work, const Block& block) {
      work.normalise(block, model_.norm(), model_.norm_limit(), room_.x, room_.normed);
      work.make_real(block, model_.output(), nullptr, room_.normed, out + (block.first - first) * size);
    });
  }
  Buffer<float>& logits_room() { return room_.logits; }

 private:
  /// The sequence of a row, and its position there.
  struct RowOfSequence {
    const Sequence* sequence;
    int64_t position;
  };

  void find_rows(const std::vector<Span>& spans) {
    rows_.clear();
    for (const Span& span : spans) {
      for (int64_t i = 0; i < span.count; ++i) rows_.push_back({span.sequence, span.start + i});
    }
  }

  /// From now on there are no other rows.
  void keep_last_rows(const std::vector<Span>& spans) {
    // No span is shorter than a row: what is moved to has been moved.
    int64_t to = 0;
    for (const Span& span : spans) {
      const int64_t from = span.row + span.count - 1, width = o_.query_width();
      room_.x.move(from, to);
      if (from > to) {
        std::copy_n(room_.q.data() + from * width, width, room_.q.data() + to * width);
        std::copy_n(room_.q_scales.data() + from * groups_, groups_, room_.q_scales.data() + to * groups_);
      }
      rows_[static_cast<size_t>(to++)] = rows_[static_cast<size_t>(from)];
    }
    into_blocks(to, threads_, blocks_);
  }

  /// work(BlockWork, block) of all blocks, whose rows take so many products each.
  template <typename Work>
  void share_blocks(int64_t products, Work work) {
    const auto count = static_cast<int64_t>(blocks_.size());
    if (room_.rooms.size() < blocks_.size()) room_.rooms.resize(blocks_.size());
    const int64_t operations = blocks_.empty() ? 1 : blocks_.front().count * products / kProductsAtOnce;
    share(threads_, count, grain_of(operations), [&](int64_t begin, int64_t end) {
      // Of the blocks of a thread, all have the room of the first.
      const BlockWork<Number> in_room(model_.how(), false, room_.rooms[static_cast<size_t>(begin)]);
      for (int64_t b = begin; b < end; ++b) work(in_room, blocks_[static_cast<size_t>(b)]);
    });
  }

  void embed(BlockWork<Number> work, const Block& block, const int32_t* tokens) {
    work.sums(block.count, o_.dim);
    for (int64_t r = 0; r < block.count; ++r) {
      const int64_t row = block.first + r;
      work.embed(model_.embedding(), tokens[row], Scale(), model_.position(rows_[static_cast<size_t>(row)].position), r);
    }
    work.store(block, model_.embedding_limit(), room_.x);
  }

  /// Queries, and keys and values into the pages.
  void keep_keys(BlockWork<Number> work, const Block& block, const Layer<Number>& layer, int64_t number) {
    const int64_t width = o_.key_width();
    work.normalise(block, layer.attention.norm, layer.attention.norm_limit, room_.x, room_.normed);
    const auto multiply = [&](const IntegerLinear<Number>& linear, const Columns& columns, auto destination, auto scales) {
      work.multiply_apart(
          block, linear, layer.attention.limit, room_.normed, {columns}, [&](int64_t r, size_t) { return destination(r); }, [&](int64_t r, size_t) { return scales(r); });
    };
    multiply(
        layer.q, {0, o_.query_width(), groups_}, [&](int64_t r) { return room_.q.data() + r * o_.query_width(); },
        [&](int64_t r) { return room_.q_scales.data() + r * groups_; });
    const auto keep = [&](const IntegerLinear<Number>& linear, int64_t part) {
      multiply(
          linear, {0, width, key_groups_}, [&](int64_t r) { return place(r).sequence->keys.token(place(r).position) + number * keys_.part_stride() + part * width; },
          [&](int64_t r) { return place(r).sequence->scales.token(place(r).position) + number * scales_.part_stride() + part * key_groups_; });
    };
    keep(layer.k, 0);
    keep(layer.v, 1);
  }

  const RowOfSequence& place(int64_t row) const { return rows_[static_cast<size_t>(row)]; }

  void attend(BlockWork<Number> work, const Block& block, const Layer<Number>& layer, int64_t number) {
    const KeyShape shape{o_.kv_heads, o_.head_dim, number * keys_.part_stride()};
    work.sums(block.count, o_.query_width());
    for (int64_t r = 0; r < block.count; ++r) {
      const int64_t row = block.first + r, count = place(row).position + 1;
      work.matched().match(place(row).sequence->scales.tokens(0), count, key_groups_, number * scales_.part_stride());
      work.attend(layer.heads, room_.q.data() + row * o_.query_width(), room_.q_scales.data() + row * groups_, place(row).sequence->keys.tokens(0), work.matched(), count,
                  shape, layer.attention.limit, r);
    }
    work.store(block, layer.attention.limit, room_.attended);
  }

  static constexpr int64_t kProductsAtOnce = 64;  // by one instruction

  const IntegerLlama<Number>& model_;
  const LlamaOptions& o_;
  bool by_head_;
  int64_t groups_, key_groups_;  ///< scales of a query; of a key, and of its value
  typename Pool<Workspace<Number>>::Lease lease_;
  Workspace<Number>& room_;
  int threads_;
  KeyPages<Number> keys_;
  KeyPages<Scale> scales_;
  std::vector<RowOfSequence> rows_;
  std::vector<Block> blocks_;
};

template <typename Number>
std::unique_ptr<SequenceDecoder> IntegerLlama<Number>::start(int threads) const {
  return std::make_unique<PagedDecoder<IntegerLlama, IntegerLayers<Number>>>(*this, threads);
}

template <typename Number>
std::vector<double> IntegerLlama<Number>::score(const std::vector<Tokens>& sequences, int threads) const {
  return PagedScorer<IntegerLlama, IntegerLayers<Number>>(*this, threads)(sequences);
}

}  // namespace

void check_integer_llama(const LlamaOptions& options) {
  std::vector<std::string> needed;
  const auto need = [&](const std::string& option, const std::string& value, const std::string& found) {
    if (found != value) needed.push_back(fmt::format("{} {} (this model has {})", option, value, found));
  };
  need("model.attention", "polynomial", options.attention);
  need("model.norm", "l1", options.norm);
  need("model.activation", "relu", options.activation);
  need("model.positions", "learned", options.positions);
  need("model.window", "0", std::to_string(options.window));
  need("model.context", "past", options.context);
  if (needed.empty()) return;
  fail_usage("scale-propagation computes no exponentials, roots or sines, in no window: it needs a language model trained with {}; --mode dynamic takes others",
             join(needed, ", "));
}

IntegerPlace place_in_integer_llama(const std::string& tensor) {
  IntegerPlace place;
  const std::vector<std::string> parts = split(tensor, '.');
  place.is_real = tensor.find(".polynomial.") != std::string::npos;
  if (starts_with(tensor, "model.layers.") && parts.size() > 3) {
    const bool attention = parts[3] == "self_attn" || parts[3] == "input_layernorm";
    place.scope = fmt::format("model.layers.{}.{}", parts[2], attention ? "self_attn" : "mlp");
    place.module = attention ? "attention" : "ffn";
  } else if (starts_with(tensor, "model.norm.")) {
    place.scope = "model.norm";
    place.module = "ffn";
    place.is_last_norm = true;
  } else if (starts_with(tensor, "lm_head.")) {
    place.scope = "lm_head";
    place.module = "output";
  } else {
    place.scope = kEmbedding;
    place.module = "embedding";
    place.is_positions = starts_with(tensor, "model.embed_positions.");
  }
  return place;
}

std::unique_ptr<LanguageModel> make_integer_llama(const LlamaOptions& resolved, int64_t vocabulary, Weights& weights) {
  if (resolved.lora.rank > 0) fail_usage("lora.rank {}: weights of integers have no adapters", resolved.lora.rank);
  const IntegerSettings settings = read_integer_settings(weights);
  if (settings.needs_16_bits()) return std::make_unique<IntegerLlama<int16_t>>(resolved, settings, vocabulary, weights);
  return std::make_unique<IntegerLlama<int8_t>>(resolved, settings, vocabulary, weights);
}

}  // namespace seqmill::infer
