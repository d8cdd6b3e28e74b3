#include "infer/answer_records.h"

#include <utility>

namespace seqmill::infer {

namespace {

void read_hypotheses(const text::Record& record, const io::Json& hypotheses, AnswerRecord& result) {
  result.answers = Answers::kHypotheses;
  if (!hypotheses.is_array()) fail("{}: \"hypotheses\" is {}, expected a list", record.place, hypotheses.type_name());
  for (const io::Json& hypothesis : hypotheses.as_array()) {
    const io::Json* text = hypothesis.is_object() ? hypothesis.find("text") : nullptr;
    if (!text || !text->is_string()) fail("{}: \"hypotheses\": expected objects with a string \"text\"", record.place);
    result.record.responses.push_back(text->as_string());
    const io::Json* finish = hypothesis.find("finish");
    if (finish && !finish->is_string()) fail("{}: \"hypotheses\": \"finish\" is {}, expected a string", record.place, finish->type_name());
    result.ended.push_back(!finish || (finish->as_string() != "length" && finish->as_string() != "stop"));
  }
}

const std::string& text_at(const text::Record& record, const char* key) {
  const io::Json* found = record.json.find(key);
  if (!found) fail("{}: the field \"{}\" is missing", record.place, key);
  if (!found->is_string()) fail("{}: \"{}\" is {}, expected a string", record.place, key, found->type_name());
  return found->as_string();
}

}  // namespace

AnswerRecord read_answers(text::Record record) {
  AnswerRecord result;
  result.place = record.place;
  const io::Json* hypotheses = record.json.find("hypotheses");
  if (!hypotheses || record.json.find("response") || record.json.find("responses")) {
    result.record = text::read_scoring(std::move(record), text::EmptyPrompts::kRefuse);
    result.answers = result.record.is_list ? Answers::kList : Answers::kOne;
    result.ended.assign(result.record.responses.size(), true);
    return result;
  }
  read_hypotheses(record, *hypotheses, result);
  text::PromptRecord prompt = text::read_prompt(std::move(record), text::EmptyPrompts::kRefuse);
  result.record.id = std::move(prompt.id);
  result.record.messages = std::move(prompt.messages);
  result.record.json = std::move(prompt.json);
  return result;
}

AnswerRecord read_translations(text::Record record) {
  AnswerRecord result;
  result.place = record.place;
  result.record.messages = {{"user", text_at(record, "source")}};
  const io::Json* hypotheses = record.json.find("hypotheses");
  if (hypotheses && record.json.find("hypothesis")) fail("{}: it has both \"hypothesis\" and \"hypotheses\", expected one of them", record.place);
  if (hypotheses) {
    read_hypotheses(record, *hypotheses, result);
  } else {
    result.record.responses = {text_at(record, "hypothesis")};
    result.ended = {true};
  }
  result.record.id = std::move(record.id);
  result.record.json = std::move(record.json);
  return result;
}

std::string name_of_answer(Answers answers, size_t index) {
  if (answers == Answers::kOne) return "";
  return fmt::format("{} {}: ", answers == Answers::kList ? "response" : "hypothesis", index + 1);
}

}  // namespace seqmill::infer
