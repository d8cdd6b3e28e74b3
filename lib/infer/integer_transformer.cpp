// The Integer Transformer (Lin et al., 2020, "Towards Fully 8-bit Integer Inference for the Transformer Model"). Models of mode scale-propagation are computed
// in integers from the embeddings to the logits, which alone are made real; others like any Transformer.

#include <cmath>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/strings.h"
#include "infer/engine.h"
#include "infer/integer_blocks.h"
#include "infer/integer_reader.h"
#include "infer/integer_settings.h"
#include "infer/pool.h"
#include "infer/sinusoids.h"
#include "infer/step_cache.h"
#include "infer/transformer.h"
#include "kernel/float_kernels.h"

namespace seqmill::infer {
namespace {

/// Tables of positions as integers: learned ones, or sines, which are rounded when they are needed for the first time.
template <typename Number>
class IntegerPositions {
 public:
  IntegerPositions(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o, int64_t limit) : dim_(o.dim), limit_(limit) {
    if (o.positions != "learned") return;
    learned_ = true;
    std::vector<float> scales;
    Part& all = parts_.emplace_back();
    all.numbers = reader.numbers(name + ".weight", {o.max_positions, dim_}, scales, o.max_positions);
    for (const float scale : scales) all.scales.emplace_back(scale);
  }

  /// The numbers of a position, which stay where they are. For several threads.
  ScaledRow<Number> row(int64_t position) {
    const Part& part = learned_ ? whole_table(position) : part_of(position);
    const int64_t at = learned_ ? position : position % kPart;
    return {part.numbers.data() + at * dim_, part.scales[static_cast<size_t>(at)]};
  }

 private:
  static constexpr int64_t kPart = 256;

  struct Part {
    std::vector<Number> numbers;
    std::vector<Scale> scales;
  };

  const Part& whole_table(int64_t position) const {
    const auto end = static_cast<int64_t>(parts_.front().scales.size());
    if (position >= end) fail("a sequence is longer than the {} learned positions of the model (model.max-positions)", end);
    return parts_.front();
  }

  const Part& part_of(int64_t position) {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (static_cast<int64_t>(parts_.size()) * kPart <= position) add_part();
    return parts_[static_cast<size_t>(position / kPart)];
  }

  void add_part() {
    const int64_t half = dim_ / 2, first = static_cast<int64_t>(parts_.size()) * kPart;
    if (frequencies_.empty()) frequencies_ = frequencies(half);
    Part& part = parts_.emplace_back();
    part.numbers.resize(static_cast<size_t>(kPart * dim_));
    std::vector<float> row(static_cast<size_t>(dim_));
    for (int64_t p = 0; p < kPart; ++p) {
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(first + p) * frequencies_[static_cast<size_t>(i)];
        row[static_cast<size_t>(i)] = std::sin(angle);
        row[static_cast<size_t>(half + i)] = std::cos(angle);
      }
      part.scales.push_back(quantise_row(row.data(), dim_, limit_, part.numbers.data() + p * dim_));
    }
  }

  int64_t dim_, limit_;
  bool learned_ = false;
  std::mutex mutex_;
  std::deque<Part> parts_;  ///< of kPart positions each, or the learned table
  std::vector<float> frequencies_;
};

template <typename Number>
IntegerSubLayer<Number> sub_layer(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o) {
  return IntegerSubLayer<Number>(reader, name, reader.norm(name + ".norm", o.dim));
}

template <typename Number>
struct Attention {
  Attention(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o)
      : around(sub_layer(reader, name, o)), heads(reader.heads(name, o.heads, o.polynomial.degree, around.limit)), out(reader.linear(name + ".out", o.dim, o.dim)) {}
  IntegerSubLayer<Number> around;
  std::vector<typename IntegerAttention<Number>::Head> heads;
  IntegerLinear<Number> out;
};

template <typename Number>
struct SelfAttention : Attention<Number> {
  SelfAttention(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o)
      : Attention<Number>(reader, name, o), qkv(reader.linear(name + ".qkv", o.dim, 3 * o.dim)) {}
  IntegerLinear<Number> qkv;
};

template <typename Number>
struct CrossAttention : Attention<Number> {
  CrossAttention(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o)
      : Attention<Number>(reader, name, o), q(reader.linear(name + ".q", o.dim, o.dim)), kv(reader.linear(name + ".kv", o.dim, 2 * o.dim)) {}
  IntegerLinear<Number> q, kv;
};

template <typename Number>
struct FeedForward {
  FeedForward(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o)
      : around(sub_layer(reader, name, o)), up(reader.linear(name + ".up", o.dim, o.ffn)), down(reader.linear(name + ".down", o.ffn, o.dim)) {}
  IntegerSubLayer<Number> around;
  IntegerLinear<Number> up, down;
};

template <typename Number>
struct EncoderLayer {
  EncoderLayer(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o)
      : attention(reader, name + ".attention", o), ffn(reader, name + ".ffn", o) {}
  SelfAttention<Number> attention;
  FeedForward<Number> ffn;
};

template <typename Number>
struct DecoderLayer {
  DecoderLayer(IntegerReader<Number>& reader, const std::string& name, const TransformerOptions& o)
      : self(reader, name + ".self", o), cross(reader, name + ".cross", o), ffn(reader, name + ".ffn", o) {}
  SelfAttention<Number> self;
  CrossAttention<Number> cross;
  FeedForward<Number> ffn;
};

template <typename Number>
struct Workspace {
  IntegerRows<Number> x, normed, hidden, attended;
  BlockRoom<Number> block;
  Buffer<Number> q;
  Buffer<Scale> q_scales;
  std::vector<Buffer<Number>> source_keys;       ///< per layer of the decoder: keys and values of the sources [rows, 2 * dim]
  std::vector<Buffer<Scale>> source_key_scales;  ///< [rows, 2 * groups]
  Buffer<Number> own_keys;                       ///< the same of a layer of the encoder
  Buffer<Scale> own_key_scales;
  std::vector<Buffer<Number>> steps;             ///< of StepStore
  std::vector<Buffer<Scale>> step_scales;
  Buffer<float> logprobs;
};

template <typename Number>
class IntegerTransformer final : public TranslationModel {
 public:
  IntegerTransformer(const TransformerOptions& options, const IntegerSettings& settings, const VocabularySizes& vocabulary, Weights& weights)
      : options_(options), settings_(settings), sizes_(vocabulary) {
    IntegerReader<Number> reader(weights, settings_);
    const int64_t dim = options.dim;
    reader.check_width(dim);
    target_embedding_ = reader.matrix("decoder.embedding.weight", vocabulary.target, dim);
    if (options.tie != "all") source_embedding_.emplace(reader.matrix("encoder.embedding.weight", vocabulary.source, dim));
    if (options.tie == "none") output_weight_.emplace(reader.matrix("output.weight", vocabulary.target, dim));
    output_bias_ = reader.real_vector("output.bias", vocabulary.target);
    for (const std::string side : {"encoder", "decoder"}) {
      embedding_limits_.push_back(settings_.limit_of(side + ".embedding"));
      positions_.push_back(std::make_unique<IntegerPositions<Number>>(reader, side + ".positions", options, embedding_limits_.back()));
    }
    for (int64_t i = 0; i < options.encoder_layers; ++i) encoder_.emplace_back(reader, fmt::format("encoder.{}", i), options);
    for (int64_t i = 0; i < options.decoder_layers; ++i) decoder_.emplace_back(reader, fmt::format("decoder.{}", i), options);
    IntegerSubLayer<Number>& last = decoder_.back().ffn.around;
    last.residual_limit = std::max(last.residual_limit, settings_.limit_of("last-residual"));
    if (options.norm == "post") last.norm_limit = std::max(last.norm_limit, settings_.limit_of("last-norm"));
    if (options.norm != "pre") return;
    for (const std::string side : {"encoder", "decoder"}) {
      final_norms_.push_back(reader.norm(side + ".norm", dim));
      final_limits_.push_back(settings_.limit_of(side + ".norm"));
    }
    final_limits_[1] = std::max(final_limits_[1], settings_.limit_of("last-norm"));
  }

  int64_t max_positions() const override {
    const int64_t positions = options_.positions == "learned" ? options_.max_positions : std::numeric_limits<int64_t>::max();
    return sizeof(Number) == 1 ? std::min(positions, kernel::kMostInt8Keys) : positions;
  }

  std::unique_ptr<search::StepDecoder> start(const std::vector<Tokens>& sources) const override;

  Pool<Workspace<Number>>& workspaces() const { return workspaces_; }
  const TransformerOptions& options() const { return options_; }
  const Requantising& how() const { return settings_.how; }
  const VocabularySizes& sizes() const { return sizes_; }
  const std::vector<EncoderLayer<Number>>& encoder() const { return encoder_; }
  const std::vector<DecoderLayer<Number>>& decoder() const { return decoder_; }
  bool pre_norm() const { return !final_norms_.empty(); }
  const IntegerNorm<Number>& final_norm(size_t side) const { return final_norms_[side]; }
  int64_t final_limit(size_t side) const { return final_limits_[side]; }
  int64_t embedding_limit(size_t side) const { return embedding_limits_[side]; }
  const IntegerMatrix<Number>& output() const { return output_weight_ ? *output_weight_ : target_embedding_; }
  const float* output_bias() const { return output_bias_.data(); }

  IntegerPositions<Number>& positions(size_t side) const { return *positions_[side]; }

  /// Side 0: encoder, 1: decoder. A token at its position -> row `to` of sums.
  void embed(size_t side, int32_t token, const ScaledRow<Number>& position, BlockWork<Number> work, int64_t to) const {
    const int64_t size = side == 0 ? sizes_.source : sizes_.target;
    if (token < 0 || token >= size) fail("token {} is outside the vocabulary of {}", token, size);
    const IntegerMatrix<Number>& table = side == 0 && source_embedding_ ? *source_embedding_ : target_embedding_;
    work.embed(table, token, Scale(std::sqrt(static_cast<float>(options_.dim))), position, to);
  }

 private:
  TransformerOptions options_;
  IntegerSettings settings_;
  VocabularySizes sizes_;
  IntegerMatrix<Number> target_embedding_;
  std::optional<IntegerMatrix<Number>> source_embedding_, output_weight_;  ///< when they are not the first
  std::vector<float> output_bias_;
  std::vector<int64_t> embedding_limits_;
  std::vector<std::unique_ptr<IntegerPositions<Number>>> positions_;
  std::vector<EncoderLayer<Number>> encoder_;
  std::vector<DecoderLayer<Number>> decoder_;
  std::vector<IntegerNorm<Number>> final_norms_;
  std::vector<int64_t> final_limits_;
  mutable Pool<Workspace<Number>> workspaces_;
};

template <typename Number>
class Decoder final : public search::StepDecoder {
 public:
  Decoder(const IntegerTransformer<Number>& model, const std::vector<Tokens>& sources)
      : model_(model),
        dim_(model.options().dim),
        head_dim_(dim_ / model.options().heads),
        groups_(model.how().granularity == Granularity::kHead ? model.options().heads : 1),
        sentences_(sources),
        room_(model.workspaces().take()),
        keys_(model.options().decoder_layers, 2 * dim_, room_->steps),
        key_scales_(model.options().decoder_layers, 2 * groups_, room_->step_scales) {
    encode(sources);
  }

  int64_t sentences() const override { return sentences_.count(); }
  int64_t vocabulary_size() const override { return model_.sizes().target; }

  float* advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) override {
    const auto rows = static_cast<int64_t>(parents.size());
    sentences_.begin_step(parents);
    origins_.begin_step(parents);
    keys_.begin_step(rows);
    key_scales_.begin_step(rows);
    const ScaledRow<Number> position = model_.positions(1).row(origins_.length() - 1);  // that of all rows
    into_blocks(rows, 1, blocks_);
    one_scale_ = false;
    IntegerRows<Number>& x = room_->x;
    x.resize(rows, dim_);
    for (const Block& block : blocks_) {
      work().sums(block.count, dim_);
      for (int64_t r = 0; r < block.count; ++r) model_.embed(1, tokens[static_cast<size_t>(block.first + r)], position, work(), r);
      work().store(block, model_.embedding_limit(1), x);
    }
    for (size_t i = 0; i < model_.decoder().size(); ++i) {
      const DecoderLayer<Number>& layer = model_.decoder()[i];
      const auto number = static_cast<int64_t>(i);
      around(layer.self.around, layer.self.out, [&](const IntegerRows<Number>& y) -> const IntegerRows<Number>& { return attend_self(layer.self, number, y); });
      around(layer.cross.around, layer.cross.out, [&](const IntegerRows<Number>& y) -> const IntegerRows<Number>& { return attend_source(layer.cross, i, y); });
      feed_forward(layer.ffn);
    }
    finish(1);
    return logprobs();
  }

 private:
  const Requantising& how() const { return model_.how(); }
  BlockWork<Number> work() { return {how(), one_scale_, room_->block}; }

  /// x = x + out(function(norm(x))), or norm(x + out(function(x))).
  template <typename Function>
  void around(const IntegerSubLayer<Number>& layer, const IntegerLinear<Number>& out, Function function) {
    IntegerRows<Number>& x = room_->x;
    const bool pre = model_.pre_norm();
    if (pre) normalise(layer.norm, layer.norm_limit, x, room_->normed);
    const IntegerRows<Number>& y = function(pre ? room_->normed : x);
    for (const Block& block : blocks_) work().add(block, out, layer.residual_limit, y, x);
    if (!pre) normalise(layer.norm, layer.norm_limit, x, x);
  }

  /// In place is allowed.
  void normalise(const IntegerNorm<Number>& norm, int64_t limit, const IntegerRows<Number>& x, IntegerRows<Number>& out) {
    if (&x != &out) out.resize(x.rows(), dim_);
    for (const Block& block : blocks_) work().normalise(block, norm, limit, x, out);
  }

  void feed_forward(const FeedForward<Number>& layer) {
    around(layer.around, layer.down, [&](const IntegerRows<Number>& y) -> const IntegerRows<Number>& {
      IntegerRows<Number>& hidden = room_->hidden;
      hidden.resize(y.rows(), layer.up.outputs());
      for (const Block& block : blocks_) work().multiply(block, layer.up, layer.around.limit, true, y, hidden);
      return hidden;
    });
  }

  void encode(const std::vector<Tokens>& sources) {
    const int64_t rows = sentences_.tokens();
    one_scale_ = how().granularity == Granularity::kSentence;
    into_blocks(rows, 1, blocks_);
    if (one_scale_) {
      blocks_.clear();
      for (size_t s = 0; s < sources.size(); ++s) blocks_.push_back({sentences_.begin(s), sentences_.length(s)});
    }
    std::vector<std::pair<int32_t, int64_t>> tokens;  // with their positions
    for (const Tokens& source : sources) {
      for (size_t p = 0; p < source.size(); ++p) tokens.emplace_back(source[p], static_cast<int64_t>(p));
    }
    IntegerRows<Number>& x = room_->x;
    x.resize(rows, dim_);
    for (const Block& block : blocks_) {
      work().sums(block.count, dim_);
      for (int64_t r = 0; r < block.count; ++r) {
        const auto& [token, position] = tokens[static_cast<size_t>(block.first + r)];
        model_.embed(0, token, model_.positions(0).row(position), work(), r);
      }
      work().store(block, model_.embedding_limit(0), x);
    }
    for (const EncoderLayer<Number>& layer : model_.encoder()) {
      around(layer.attention.around, layer.attention.out,
             [&](const IntegerRows<Number>& y) -> const IntegerRows<Number>& { return attend_each_other(layer.attention, y); });
      feed_forward(layer.ffn);
    }
    finish(0);
    room_->source_keys.resize(model_.decoder().size());
    room_->source_key_scales.resize(model_.decoder().size());
    for (size_t i = 0; i < model_.decoder().size(); ++i) {
      const CrossAttention<Number>& cross = model_.decoder()[i].cross;
      Number* keys = room_->source_keys[i].room_for(rows * 2 * dim_);
      Scale* scales = room_->source_key_scales[i].room_for(rows * 2 * groups_);
      for (const Block& block : blocks_) {
        work().multiply_apart(
            block, cross.kv, cross.around.limit, x, parts(2), [&](int64_t r, size_t part) { return keys + r * 2 * dim_ + at(part, dim_); },
            [&](int64_t r, size_t part) { return scales + r * 2 * groups_ + at(part, groups_); });
      }
      match_sources(keys, scales);
    }
  }

  /// Matched scales of the keys of each sentence, which are the same in every step.
  void match_sources(const Number* keys, const Scale* scales) {
    Sources& layer = sources_.emplace_back();
    for (size_t s = 0; s < static_cast<size_t>(sentences_.count()); ++s) {
      layer.keys.push_back(point_to(keys + sentences_.begin(s) * 2 * dim_, 2 * dim_, sentences_.length(s)));
      const std::vector<const Scale*> scale_rows = point_to(scales + sentences_.begin(s) * 2 * groups_, 2 * groups_, sentences_.length(s));
      layer.scales.emplace_back().match(scale_rows.data(), sentences_.length(s), groups_);
    }
  }

  template <typename Any>
  static std::vector<const Any*> point_to(const Any* first, int64_t stride, int64_t count) {
    std::vector<const Any*> rows;
    for (int64_t t = 0; t < count; ++t) rows.push_back(first + t * stride);
    return rows;
  }

  /// As many columns for each of some parts: queries, keys and values, or fewer of them.
  std::vector<Columns> parts(int64_t count) const {
    std::vector<Columns> parts;
    for (int64_t part = 0; part < count; ++part) parts.push_back({part * dim_, dim_, groups_});
    return parts;
  }
  static int64_t at(size_t part, int64_t width) { return static_cast<int64_t>(part) * width; }

  /// One query to its keys -> row `to` of sums.
  void attend(const Attention<Number>& layer, const Number* q, const Scale* q_scales, const Number* const* keys, const KeyScales& scales, int64_t count, int64_t to) {
    work().attend(layer.heads, q, q_scales, keys, scales, count, {static_cast<int64_t>(layer.heads.size()), head_dim_}, layer.around.limit, to);
  }

  const IntegerRows<Number>& attend_each_other(const SelfAttention<Number>& layer, const IntegerRows<Number>& y) {
    const int64_t rows = y.rows();
    Number *q = room_->q.room_for(rows * dim_), *keys = room_->own_keys.room_for(rows * 2 * dim_);
    Scale *q_scales = room_->q_scales.room_for(rows * groups_), *scales = room_->own_key_scales.room_for(rows * 2 * groups_);
    for (const Block& block : blocks_) {
      work().multiply_apart(
          block, layer.qkv, layer.around.limit, y, parts(3), [&](int64_t r, size_t part) { return part == 0 ? q + r * dim_ : keys + r * 2 * dim_ + at(part - 1, dim_); },
          [&](int64_t r, size_t part) { return part == 0 ? q_scales + r * groups_ : scales + r * 2 * groups_ + at(part - 1, groups_); });
    }
    room_->attended.resize(rows, dim_);
    for (size_t s = 0; s < static_cast<size_t>(sentences_.count()); ++s) {
      const std::vector<const Number*> key_rows = point_to<Number>(keys + sentences_.begin(s) * 2 * dim_, 2 * dim_, sentences_.length(s));
      const std::vector<const Scale*> scale_rows = point_to<Scale>(scales + sentences_.begin(s) * 2 * groups_, 2 * groups_, sentences_.length(s));
      const Block sentence{sentences_.begin(s), sentences_.length(s)};
      KeyScales& matched = work().matched();
      matched.match(scale_rows.data(), sentence.count, groups_);
      work().sums(sentence.count, dim_);
      for (int64_t r = 0; r < sentence.count; ++r) {
        attend(layer, q + (sentence.first + r) * dim_, q_scales + (sentence.first + r) * groups_, key_rows.data(), matched, sentence.count, r);
      }
      work().store(sentence, layer.around.limit, room_->attended);
    }
    return room_->attended;
  }

  const IntegerRows<Number>& attend_self(const SelfAttention<Number>& layer, int64_t number, const IntegerRows<Number>& y) {
    const int64_t rows = y.rows(), count = origins_.length();
    Number* q = room_->q.room_for(rows * dim_);
    Scale* q_scales = room_->q_scales.room_for(rows * groups_);
    for (const Block& block : blocks_) {
      work().multiply_apart(
          block, layer.qkv, layer.around.limit, y, parts(3), [&](int64_t r, size_t part) { return part == 0 ? q + r * dim_ : keys_.place(number, r) + at(part - 1, dim_); },
          [&](int64_t r, size_t part) { return part == 0 ? q_scales + r * groups_ : key_scales_.place(number, r) + at(part - 1, groups_); });
    }
    room_->attended.resize(rows, dim_);
    for (const Block& block : blocks_) {
      work().sums(block.count, dim_);
      for (int64_t r = 0; r < block.count; ++r) {
        const int64_t row = block.first + r;
        KeyScales& matched = work().matched();
        matched.match(key_scales_.of_row(number, origins_.row(row)), count, groups_);
        attend(layer, q + row * dim_, q_scales + row * groups_, keys_.of_row(number, origins_.row(row)), matched, count, r);
      }
      work().store(block, layer.around.limit, room_->attended);
    }
    return room_->attended;
  }

  const IntegerRows<Number>& attend_source(const CrossAttention<Number>& layer, size_t number, const IntegerRows<Number>& y) {
    const int64_t rows = y.rows();
    Number* q = room_->q.room_for(rows * dim_);
    Scale* q_scales = room_->q_scales.room_for(rows * groups_);
    room_->attended.resize(rows, dim_);
    for (const Block& block : blocks_) {
      work().multiply_apart(
          block, layer.q, layer.around.limit, y, parts(1), [&](int64_t r, size_t) { return q + r * dim_; }, [&](int64_t r, size_t) { return q_scales + r * groups_; });
      work().sums(block.count, dim_);
      for (int64_t r = 0; r < block.count; ++r) {
        const int64_t row = block.first + r;
        const size_t s = sentences_.of_row(row);
        attend(layer, q + row * dim_, q_scales + row * groups_, sources_[number].keys[s].data(), sources_[number].scales[s], sentences_.length(s), r);
      }
      work().store(block, layer.around.limit, room_->attended);
    }
    return room_->attended;
  }

  void finish(size_t side) {
    if (model_.pre_norm()) normalise(model_.final_norm(side), model_.final_limit(side), room_->x, room_->x);
  }

  /// Here integers become real numbers.
  float* logprobs() {
    const int64_t size = vocabulary_size();
    float* out = room_->logprobs.room_for(room_->x.rows() * size);
    for (const Block& block : blocks_) {
      work().make_real(block, model_.output(), model_.output_bias(), room_->x, out + block.first * size);
      for (int64_t r = block.first; r < block.first + block.count; ++r) kernel::float_kernels().log_softmax(out + r * size, size);
    }
    return out;
  }

  /// Of one layer of the decoder, by sentence.
  struct Sources {
    std::vector<std::vector<const Number*>> keys;
    std::vector<KeyScales> scales;
  };

  const IntegerTransformer<Number>& model_;
  int64_t dim_, head_dim_, groups_;
  Sentences sentences_;
  std::vector<Sources> sources_;
  std::vector<Block> blocks_;
  bool one_scale_ = false;  ///< for all rows of a block
  typename Pool<Workspace<Number>>::Lease room_;
  StepOrigins origins_;
  StepStore<Number> keys_;       ///< keys and values
  StepStore<Scale> key_scales_;  ///< theirs
};

template <typename Number>
std::unique_ptr<search::StepDecoder> IntegerTransformer<Number>::start(const std::vector<Tokens>& sources) const {
  return std::make_unique<Decoder<Number>>(*this, sources);
}

class IntegerTransformerConfig final : public EngineConfig {
 public:
  void declare(Options& options) override { options_.declare(options); }

  void check_scale_propagation() const override {
    if (options_.attention != "polynomial") fail_usage("scale-propagation needs attention without exponentials: a model trained with --model.attention polynomial");
    if (options_.norm_kind != "l1") fail_usage("scale-propagation needs normalisation without roots: a model trained with --model.norm-kind l1");
  }

  std::unique_ptr<TranslationModel> build(const VocabularySizes& vocabulary, Weights& weights) const override {
    const TransformerOptions resolved = options_.resolve(vocabulary);
    if (weights.integer_mode() != "scale-propagation") return make_transformer(resolved, vocabulary, weights);
    check_scale_propagation();
    const IntegerSettings settings = read_integer_settings(weights);
    if (settings.needs_16_bits()) return std::make_unique<IntegerTransformer<int16_t>>(resolved, settings, vocabulary, weights);
    return std::make_unique<IntegerTransformer<int8_t>>(resolved, settings, vocabulary, weights);
  }

 private:
  IntegerTransformerOptions options_;
};

const Registration<EngineType> registered{"integer-transformer", {[] { return std::make_unique<IntegerTransformerConfig>(); }}};

}  // namespace
}  // namespace seqmill::infer
