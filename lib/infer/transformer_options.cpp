#include "infer/transformer_options.h"

#include "base/error.h"

namespace seqmill::infer {

void TransformerOptions::declare(Options& options) {
  options.add("model.dim", dim, "Width of the model").range(2);
  options.add("model.ffn", ffn, "Width of the feed-forward layers").range(1);
  options.add("model.heads", heads, "Attention heads").range(1);
  options.add("model.encoder-layers", encoder_layers, "Encoder layers").range(1);
  options.add("model.decoder-layers", decoder_layers, "Decoder layers").range(1);
  options.add("model.norm", norm, "Layer normalisation before or after each sub-layer").one_of({"pre", "post"});
  options.add("model.positions", positions, "Position encoding").one_of({"sinusoidal", "learned", "rotary"});
  options.add("model.max-positions", max_positions, "Longest sequence of learned positions").range(1);
  options.add("model.activation", activation, "Activation of the feed-forward layers").one_of({"relu", "gelu"});
  options.add("model.tie", tie, "Share embeddings: no; target with output; source too (needs one vocabulary)")
      .one_of({"none", "decoder", "all"});
  options.add("model.dropout", dropout, "Dropout of embeddings and sub-layers").range(0, 0.99);
  options.add("model.attention-dropout", attention_dropout, "Dropout of attention weights").range(0, 0.99);
  options.add("model.activation-dropout", activation_dropout, "Dropout inside the feed-forward layers").range(0, 0.99);
}

void TransformerOptions::check(const VocabularySizes& vocabulary) const {
  if (dim % heads != 0) fail_usage("model.dim {} is not divisible by model.heads {}", dim, heads);
  if (dim % 2 != 0) fail_usage("model.dim {} is odd; positions need an even width", dim);
  if (positions == "rotary" && dim / heads % 2 != 0) {
    fail_usage("rotary positions need an even head width; model.dim / model.heads is {}", dim / heads);
  }
  if (tie == "all" && !vocabulary.shared) {
    fail_usage("model.tie all needs one vocabulary for both sides; use --model.tie decoder with separate ones");
  }
}

void IntegerTransformerOptions::declare(Options& options) {
  transformer.declare(options);
  options.add("model.attention", attention, "What makes attention weights of scores").one_of({"polynomial", "softmax"});
  options.add("model.poly-degree", polynomial.degree, "Degree n of the polynomial max(0, x + b)^n + |delta|").range(1, 4);
  options.add("model.poly-bias", polynomial.bias, "Its b of every head, when training begins");
  options.add("model.poly-delta", polynomial.delta, "Its delta of every head, when training begins");
  options.add("model.norm-kind", norm_kind, "Layer normalisation by the mean deviation or the standard deviation").one_of({"l1", "l2"});
}

TransformerOptions IntegerTransformerOptions::resolve(const VocabularySizes& vocabulary) const {
  transformer.check(vocabulary);
  if (transformer.positions == "rotary") fail_usage("an integer-transformer adds its positions; --model.positions is sinusoidal or learned");
  if (transformer.activation != "relu") fail_usage("an integer-transformer has --model.activation relu: others need exponentials");
  TransformerOptions resolved = transformer;
  if (attention == "polynomial") resolved.polynomial = polynomial;
  resolved.l1_norm = norm_kind == "l1";
  return resolved;
}

}  // namespace seqmill::infer
