#pragma once
// Decoder-only Transformers that are computed in integers from the embeddings to the logits (int8-quantize --mode scale-propagation).

#include <cstdint>
#include <memory>
#include <string>

#include "infer/integer_settings.h"
#include "infer/language_model.h"
#include "infer/llama_options.h"
#include "infer/weights.h"

namespace seqmill::infer {

/// Throws a usage error that names all that integers cannot compute.
void check_integer_llama(const LlamaOptions& options);

/// Scopes are "model.layers.<i>.self_attn", "model.layers.<i>.mlp", "model.embed_tokens", "model.norm" and "lm_head".
IntegerPlace place_in_integer_llama(const std::string& tensor);

/// Of options that were checked and resolved, and of weights of that mode.
std::unique_ptr<LanguageModel> make_integer_llama(const LlamaOptions& resolved, int64_t vocabulary, Weights& weights);

}  // namespace seqmill::infer
