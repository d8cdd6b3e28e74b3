#pragma once
// The Transformer encoder-decoder in floating point, for architectures that are made of it.

#include <memory>

#include "infer/transformer_options.h"
#include "infer/translation_model.h"
#include "infer/weights.h"

namespace seqmill::infer {

/// Options that were checked and weights -> the model.
std::unique_ptr<TranslationModel> make_transformer(const TransformerOptions& options, const VocabularySizes& vocabulary, Weights& weights);

}  // namespace seqmill::infer
