#pragma once
// Comparisons as trees of tokens: the prompt, the chosen and the rejected answer.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/prompt_trees.h"
#include "text/chat.h"
#include "text/comparisons.h"
#include "text/tokenizer.h"

namespace seqmill::align {

struct PreferencePairs {
  std::vector<data::PromptTree> trees;       ///< endings: chosen, rejected
  std::vector<data::PromptTree> mismatched;  ///< if asked for, of each the prompt and as the one ending an answer to another prompt
  int64_t tokens = 0;                        ///< of the trees
  int64_t cut_prompts = 0, cut_answers = 0;  ///< that did not fit the window; of answers those of comparisons
  int64_t alike = 0;                         ///< pairs left out: what the window leaves of both answers is the same
};

/// Every pair of which one answer is better, in the order of the data. `mismatched`: with the best answer of the next comparison that has another prompt, after the last the first, so that it
/// is always the same. Throws Error when no pair is left, and when `mismatched` finds one prompt only.
PreferencePairs make_pairs(const std::vector<text::Comparison>& comparisons, const text::ChatTemplate& chat, const text::Tokenizer& tokenizer, int64_t window, bool mismatched);

}  // namespace seqmill::align
