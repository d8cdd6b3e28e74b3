#include "rl/inputs.h"

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "infer/prompts.h"
#include "text/parallel_reader.h"
#include "text/records.h"

namespace seqmill::rl {
namespace {

/// "reference" and "references" of a record: strings.
std::vector<std::string> references_of(const text::PromptRecord& record, const std::string& place) {
  std::vector<std::string> references;
  const auto add = [&](const io::Json& value, const char* field) {
    if (!value.is_string()) fail("{}: \"{}\" is {}, expected {}", place, field, value.type_name(), field == std::string("reference") ? "a string" : "a list of strings");
    references.push_back(value.as_string());
  };
  if (const io::Json* one = record.json.find("reference"); one && !one->is_null()) add(*one, "reference");
  if (const io::Json* list = record.json.find("references"); list && !list->is_null()) {
    if (!list->is_array()) add(*list, "references");
    if (!list->as_array().empty()) references.clear();
    for (const io::Json& value : list->as_array()) add(value, "references");
  }
  return references;
}

}  // namespace

std::vector<Input> read_pairs(const std::string& source, const std::string& target, const infer::Vocabularies& vocabularies, int64_t max_length, const std::string& what) {
  text::ParallelReader reader(source, target);
  std::vector<Input> inputs;
  int64_t empty = 0, too_long = 0;
  std::string line, translation;
  while (reader.next(line, translation)) {
    Input input;
    input.tokens = vocabularies.source->encode(line);
    input.target = vocabularies.target->encode(translation);
    if (input.tokens.empty() || input.target.empty()) {
      ++empty;
      continue;
    }
    if (static_cast<int64_t>(std::max(input.tokens.size(), input.target.size())) > max_length) {
      ++too_long;
      continue;
    }
    input.target.push_back(vocabularies.target->eos());
    input.question.id = std::to_string(reader.line_number());
    input.question.place = fmt::format("{}:{}", source, reader.line_number());
    input.question.source = line;
    input.question.references = {translation};
    inputs.push_back(std::move(input));
  }
  if (inputs.empty()) fail("{}: no pair of {} is left: {} with an empty side, {} with one of more than {} tokens", what, source, empty, too_long, max_length);
  log::info("{}: {} pairs; left out: {} with an empty side, {} with one of more than {} tokens", what, inputs.size(), empty, too_long, max_length);
  return inputs;
}

std::vector<Input> read_prompts(const std::vector<std::string>& files, const text::ChatTemplate& chat, const text::Tokenizer& tokenizer, int64_t max_prompt, bool skip_bad,
                                const std::string& what) {
  std::vector<Input> inputs;
  int64_t cut = 0;
  const int64_t bad = text::read_all_records(files, skip_bad, [&](text::Record record) {
    const std::string place = record.place;
    const text::PromptRecord prompt = text::read_prompt(std::move(record), text::EmptyPrompts::kRefuse);
    Input input;
    input.question.id = prompt.id;
    input.question.place = place;
    input.question.messages = prompt.messages;
    input.question.references = references_of(prompt, place);
    input.tokens = chat.prompt(prompt.messages);
    cut += infer::cut_left(input.tokens, max_prompt, tokenizer.bos());
    inputs.push_back(std::move(input));
  });
  if (inputs.empty()) fail("{}: no prompt of {} is left{}", what, join(files, ", "), bad > 0 ? fmt::format(": {} records are bad", bad) : "");
  log::info("{}: {} prompts; {} of more than {} tokens lost their first ones", what, inputs.size(), cut, max_prompt);
  if (bad > 0) log::warn("{}: {} bad records were left out (--skip-bad)", what, bad);
  return inputs;
}

}  // namespace seqmill::rl
