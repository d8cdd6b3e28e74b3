#include "infer/llama_options.h"

#include <cmath>
#include <map>

#include "base/error.h"

namespace seqmill::infer {

namespace {

// Far beyond any model, and small enough that no product of sizes overflows.
constexpr double kMostWidth = 1 << 24, kMostLayers = 1 << 16, kMostRank = 1 << 16, kMostPositions = int64_t{1} << 31;
constexpr int64_t kMostHeadsWidth = int64_t{1} << 26;
constexpr double kMostNumbers = double{int64_t{1} << 50};

void check_sizes(const LlamaOptions& o) {
  for (const auto& [heads, name] : {std::pair(o.heads, "model.heads"), std::pair(o.kv_heads, "model.kv-heads")}) {
    if (heads > kMostHeadsWidth / o.head_dim) {
      fail_usage("{} {} of width {} (model.head-dim) are {} numbers wide together; the most is {}", name, heads, o.head_dim, heads * o.head_dim, kMostHeadsWidth);
    }
  }
  const double layers = static_cast<double>(o.layers), dim = static_cast<double>(o.dim), keys = static_cast<double>(o.key_width());
  const double widths = 2 * static_cast<double>(o.query_width()) + 2 * keys + 3 * static_cast<double>(o.ffn);
  if (layers * dim * widths > kMostNumbers) fail_usage("model.layers {} of these widths have {:.3g} parameters; the most is {:.3g}", o.layers, layers * dim * widths, kMostNumbers);
  const double cache = 2 * layers * keys * static_cast<double>(o.max_positions);
  if (cache > kMostNumbers) {
    fail_usage("model.max-positions {} of model.layers {} have {:.3g} keys and values; the most is {:.3g}", o.max_positions, o.layers, cache, kMostNumbers);
  }
}

}  // namespace

void LlamaOptions::declare(Options& options) {
  options.add("model.dim", dim, "Width of the model").range(2, kMostWidth);
  options.add("model.ffn", ffn, "Width of the feed-forward layers").range(1, kMostWidth);
  options.add("model.layers", layers, "Layers").range(1, kMostLayers);
  options.add("model.heads", heads, "Attention heads").range(1, kMostWidth);
  options.add("model.vocabulary", vocabulary, "Rows of the embedding; 0: as many as the tokeniser has tokens").range(0, kMostWidth);
  options.add("model.kv-heads", kv_heads, "Heads of keys and values, each for a group of attention heads; 0: as many").range(0, kMostWidth);
  options.add("model.head-dim", head_dim, "Width of a head; 0: model.dim / model.heads").range(0, kMostWidth);
  options.add("model.max-positions", max_positions, "Longest sequence").range(1, kMostPositions);
  options.add("model.window", window, "How many tokens a token sees, itself included; 0: all before it").range(0, kMostPositions);
  options.add("model.context", context, "Which tokens of its text a token sees: those before it, or as an encoder all of them; such a model gives scores (rm-train) and predicts nothing")
      .one_of({"past", "full"});
  options.add("model.norm", norm, "Normalisation before each sub-layer: root mean square, standard deviation, mean deviation").one_of({"rms", "layer", "l1"});
  options.add("model.norm-epsilon", norm_epsilon, "Added to the mean square (variance, deviation)").range(0, 1);
  options.add("model.positions", positions, "Position encoding").one_of({"rotary", "learned"});
  options.add("model.rope-theta", rope.theta, "Base of the wavelengths of rotary positions").range(1);
  options.add("model.rope-scaling", rope.scaling, "Rotary positions beyond those of training").one_of({"none", "linear", "llama3"});
  options.add("model.rope-factor", rope.factor, "By how much rope-scaling stretches").range(1);
  options.add("model.rope-low-factor", rope.low_factor, "llama3: wavelengths above original positions / this are stretched").range(0.001);
  options.add("model.rope-high-factor", rope.high_factor, "llama3: those below original positions / this are not").range(0.001);
  options.add("model.rope-original-positions", rope.original_positions, "llama3: positions before stretching").range(1, kMostPositions);
  options.add("model.activation", activation, "Feed-forward layers: gated SiLU, or one of those between two products").one_of({"swiglu", "gelu", "relu"});
  options.add("model.tie", tie, "The output layer is the embedding");
  options.add("model.qkv-bias", qkv_bias, "Biases of queries, keys and values");
  options.add("model.dropout", dropout, "Dropout of embeddings and sub-layers").range(0, 0.99);
  options.add("model.attention-dropout", attention_dropout, "Dropout of attention weights").range(0, 0.99);
  options.add("model.activation-dropout", activation_dropout, "Dropout inside the feed-forward layers").range(0, 0.99);
  options.add("model.attention", attention, "What makes attention weights of scores").one_of({"softmax", "polynomial"});
  options.add("model.poly-degree", polynomial.degree, "Degree n of the polynomial max(0, x + b)^n + |delta|").range(1, 4);
  options.add("model.poly-bias", polynomial.bias, "Its b of every head, when training begins");
  options.add("model.poly-delta", polynomial.delta, "Its delta of every head, when training begins");
  options.add("lora.rank", lora.rank, "Train adapters of this rank instead of the weights; 0: the weights").range(0, kMostRank);
  options.add("lora.alpha", lora.alpha, "Adapters are multiplied by this over their rank").range(0);
  options.add("lora.targets", lora.targets, "The matrices that get adapters")
      .one_of({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"});
}

LlamaOptions LlamaOptions::resolve() const {
  LlamaOptions o = *this;
  if (o.kv_heads == 0) o.kv_heads = heads;
  if (o.head_dim == 0) {
    if (dim % heads != 0) fail_usage("model.dim {} is not divisible by model.heads {}; give model.head-dim", dim, heads);
    o.head_dim = dim / heads;
  }
  if (heads % o.kv_heads != 0) fail_usage("model.heads {} is not divisible by model.kv-heads {}", heads, o.kv_heads);
  if (positions == "rotary" && o.head_dim % 2 != 0) fail_usage("rotary positions need an even head width; it is {}", o.head_dim);
  if (sees_all() && window > 0) fail_usage("model.window {}: it is of those before a token, and with model.context full a token sees all", window);
  check_sizes(o);
  if (attention != "polynomial") o.polynomial = {};
  if (rope.scaling == "llama3" && !(rope.low_factor < rope.high_factor)) {
    fail_usage("model.rope-low-factor {} is not below model.rope-high-factor {}", rope.low_factor, rope.high_factor);
  }
  if (activation != "swiglu") {
    for (const std::string& target : lora.targets) {
      if (lora.rank > 0 && target == "gate_proj") fail_usage("--lora.targets gate_proj: only feed-forward layers with model.activation swiglu have it");
    }
  }
  return o;
}

int64_t LlamaOptions::rows(int64_t tokens) const {
  if (vocabulary > 0 && vocabulary < tokens) {
    fail_usage("the tokeniser has {} tokens, the embedding {} rows (model.vocabulary): they do not belong together", tokens, vocabulary);
  }
  return vocabulary > 0 ? vocabulary : tokens;
}

LlamaSize size_of(const LlamaOptions& o, int64_t rows) {
  const int64_t norm = (o.norm == "rms" ? 1 : 2) * o.dim;
  const int64_t attention = (2 * o.query_width() + 2 * o.key_width()) * o.dim + (o.qkv_bias ? o.query_width() + 2 * o.key_width() : 0) +
                            (o.polynomial.degree > 0 ? 2 * o.heads : 0);
  const int64_t feed_forward = (o.activation == "swiglu" ? 3 : 2) * o.ffn * o.dim;
  LlamaSize size;
  size.parameters = (o.tie ? 1 : 2) * rows * o.dim + o.layers * (attention + feed_forward + 2 * norm) + norm +
                    (o.positions == "learned" ? o.max_positions * o.dim : 0);
  size.cache_numbers = 2 * o.layers * o.key_width();
  const std::map<std::string, int64_t> ends{{"q_proj", o.query_width() + o.dim}, {"k_proj", o.key_width() + o.dim}, {"v_proj", o.key_width() + o.dim},
                                            {"o_proj", o.query_width() + o.dim}, {"gate_proj", o.ffn + o.dim},      {"up_proj", o.ffn + o.dim},
                                            {"down_proj", o.ffn + o.dim}};
  for (const std::string& target : o.lora.targets) size.adapters += o.layers * o.lora.rank * ends.at(target);
  return size;
}

}  // namespace seqmill::infer
