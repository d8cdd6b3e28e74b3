#pragma once
// tokenizer.json, the file format of Hugging Face's tokenizers, as far as byte-level BPE needs it.

#include <cstdint>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/byte_pairs.h"

namespace seqmill::text {

struct TokenizerJson {
  struct Split {
    std::string pattern;
    bool literal = false;
    std::string place;
  };
  std::vector<std::string> pieces;  ///< by id, as the file spells them; "" for an id that stands for nothing
  std::vector<BytePairs::Merge> merges;
  bool ignore_merges = false;
  bool normalizes = false;  ///< to normalisation form C
  std::vector<Split> splits;
  bool prefix_space = false;
  std::vector<AddedToken> added;
  std::string begins_with;  ///< the token that the post-processor puts first; "" for none
};

/// Throws Error naming file and field for what is wrong, and for what the file asks for and is not supported.
TokenizerJson read_tokenizer_json(const std::string& path);

/// `pieces`, longer by what is needed for an id, which must not leave most ids without a token.
void reserve_id(std::vector<std::string>& pieces, int64_t id, const std::string& place);

}  // namespace seqmill::text
