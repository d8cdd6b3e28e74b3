#pragma once
// The two kinds of tokenisers, for load_tokenizer().

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace seqmill::text {

std::shared_ptr<const Tokenizer> open_sentencepiece_tokenizer(const std::string& path);
std::shared_ptr<const Tokenizer> open_byte_level_tokenizer(const std::string& path);

}  // namespace seqmill::text
