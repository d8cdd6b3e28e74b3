#pragma once
// Records of prompts with answers that are to be scored (docs/formats.md#records).

#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/records.h"

namespace seqmill::infer {

/// The answers of a record, as the field that holds them has them.
enum class Answers { kOne, kList, kHypotheses };

struct AnswerRecord {
  std::string place;  ///< of Record
  text::ScoringRecord record;
  Answers answers = Answers::kOne;
  std::vector<bool> ended;  ///< by answer: false for hypotheses that were cut off before an end token
};

/// {prompt, response}, {prompt, responses}, or {prompt, hypotheses} as lm-generate writes them. Throws Error "<place>: ...".
AnswerRecord read_answers(text::Record record);

/// {source, hypothesis}, or {source, hypotheses} with hypotheses as above: the source is the prompt. Throws Error "<place>: ...".
AnswerRecord read_translations(text::Record record);

/// "response 2: ", where there are several of them.
std::string name_of_answer(Answers answers, size_t index);

}  // namespace seqmill::infer
