#pragma once
// What lies beside a tokeniser's file and completes it: tokenizer_config.json, special_tokens_map.json, added_tokens.json, and the ids in generation_config.json
// and config.json of a model.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"

namespace seqmill::text {

/// One of the two symbols, as the files state it.
struct EndSymbol {
  bool stated = false;      ///< a stated symbol without text and id: there is none
  std::string text;
  int32_t id = -1;          ///< where only the number is known
  std::string place;        ///< for messages
};

struct TokenizerConfig {
  std::vector<AddedToken> added;  ///< of added_tokens_decoder, or of added_tokens.json
  std::string added_place;        ///< the file that names them
  EndSymbol bos, eos;
};

/// Of a directory, where each of the files may be absent. Throws Error naming file and field.
TokenizerConfig read_tokenizer_config(const std::string& directory);

/// The files that are part of a tokeniser beside its own, of those that are there.
std::vector<std::string> tokenizer_companions(const std::string& directory);

/// "" for a file of the working directory is ".".
std::string directory_of(const std::string& path);

/// The id that a stated symbol stands for. `find` gives the id of a text, -1 for none.
int32_t resolve(const EndSymbol& symbol, int32_t size, const std::function<int32_t(const std::string&)>& find);

}  // namespace seqmill::text
