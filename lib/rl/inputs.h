#pragma once
// What a policy is given, and what rewards know of it.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "infer/vocabularies.h"
#include "rl/reward.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace seqmill::rl {

struct Input {
  Question question;           ///< without candidates
  std::vector<int32_t> tokens;  ///< a source without its end symbol, or a prompt
  std::vector<int32_t> target;  ///< of the first reference, with its end symbol; empty without one
};

/// Pairs of two files of lines, or of one TSV file. Pairs with an empty side, or one of more than `max_length` tokens, are left out, and counted. Throws Error when nothing is left.
std::vector<Input> read_pairs(const std::string& source, const std::string& target, const infer::Vocabularies& vocabularies, int64_t max_length, const std::string& what);

/// Records {id, prompt, reference?, references?}, JSON lines, plain or .gz. A prompt of more than `max_prompt` tokens loses its first ones; counted. With `skip_bad` bad records are left out and counted.
std::vector<Input> read_prompts(const std::vector<std::string>& files, const text::ChatTemplate& chat, const text::Tokenizer& tokenizer, int64_t max_prompt, bool skip_bad,
                                const std::string& what);

}  // namespace seqmill::rl
