#pragma once
// The Transformer encoder-decoder, for architectures that are made of it.

#include <cstdint>
#include <memory>
#include <optional>

#include "infer/transformer_options.h"
#include "model/seq2seq.h"

namespace seqmill::model {

/// Options that were checked -> the model; see Seq2SeqConfig::build.
std::unique_ptr<Seq2Seq> make_transformer(const infer::TransformerOptions& options, const infer::VocabularySizes& vocabulary, std::optional<uint64_t> seed);

}  // namespace seqmill::model
