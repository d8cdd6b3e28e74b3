#include "text/comparison_parser.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/strings.h"
#include "text/record_fields.h"
#include "text/unicode.h"

namespace seqmill::text {

/// A comparison being read, and what its responses are called in the record.
struct ComparisonParser::Draft {
  Comparison comparison;
  std::vector<std::string> names;

  const io::Json& record() const { return comparison.json; }
  void add(std::string response, std::string name) {
    comparison.responses.push_back(std::move(response));
    names.push_back(std::move(name));
  }
};

namespace {

constexpr std::string_view kDialogueAnswer = "\n\nAssistant:", kDialogueQuestion = "\n\nHuman:";

double number_of(const io::Json& value, const std::string& name) {
  if (!value.is_number()) {
    const std::string text = value.is_string() ? fmt::format(" (\"{}\")", excerpt(value.as_string(), 20)) : "";
    fail("\"{}\" is {}{}, expected a finite number", name, value.type_name(), text);
  }
  if (!std::isfinite(value.as_double())) fail("\"{}\" is {}, expected a finite number", name, value.as_double());
  return value.as_double();
}
double number_of(const FoundField& field) { return number_of(*field.value, field.name); }

bool is_blank(const std::string& text) { return trim_both(text).empty(); }

const io::JsonArray& list_of(const FoundField& field, const char* expected) {
  if (!field.value->is_array()) fail("\"{}\" is {}, expected a list of {}", field.name, field.value->type_name(), expected);
  return field.value->as_array();
}

std::vector<std::string> strings_of(const FoundField& field) {
  std::vector<std::string> strings;
  for (const io::Json& item : list_of(field, "strings")) {
    if (!item.is_string()) fail("\"{}\" holds {}, expected strings", field.name, item.type_name());
    strings.push_back(item.as_string());
  }
  return strings;
}

std::vector<double> numbers_of(const FoundField& field, size_t count) {
  std::vector<double> numbers;
  for (const io::Json& item : list_of(field, "numbers")) numbers.push_back(number_of(item, fmt::format("{}[{}]", field.name, numbers.size())));
  if (numbers.size() != count) fail("\"{}\" has {} numbers, expected one for each of the {} responses", field.name, numbers.size(), count);
  return numbers;
}

bool is_list_of_strings(const io::Json& value) { return value.is_array() && !value.as_array().empty() && value.as_array().front().is_string(); }

std::string names_in(const io::Json& record) {
  std::vector<std::string> names;
  for (const auto& [name, value] : record.as_object()) names.push_back(name);
  return excerpt(join(names, ", "), 200);
}

// Our names of the fields by which a record judges its responses, and those fields; at most one.
using Judged = std::vector<std::pair<const char*, const FoundField*>>;
void check_single(const Judged& found) {
  if (found.size() < 2) return;
  fail("it has both \"{}\" and \"{}\", expected one of them; \"--fields {}=\" leaves the second out", found[0].second->name, found[1].second->name, found[1].first);
}

// Text of a dialogue with "\n\nHuman:" and "\n\nAssistant:" before its turns: cuts what both have in common off, up to the answer. What is left must be the answer alone.
std::string take_common_dialogue(std::string& first, std::string& second) {
  const auto [end, other] = std::mismatch(first.begin(), first.end(), second.begin(), second.end());
  const std::string_view common(first.data(), static_cast<size_t>(end - first.begin()));
  const size_t at = common.rfind(kDialogueAnswer);
  if (at == std::string_view::npos) return "";
  const size_t size = at + kDialogueAnswer.size();
  const std::string prompt(trim(common.substr(0, size)));
  for (std::string* text : {&first, &second}) *text = text->substr(std::min(text->size(), size + (text->size() > size && (*text)[size] == ' ' ? 1 : 0)));
  for (const std::string* text : {&first, &second}) {
    for (const std::string_view turn : {kDialogueQuestion, kDialogueAnswer}) {
      if (text->find(turn) == std::string::npos) continue;
      fail("the dialogues part before their last answers: behind what they have in common, {} has another \"{}\"", text == &first ? "the first" : "the second", trim(turn));
    }
  }
  return prompt;
}

void check_prompt(const std::vector<Message>& messages) {
  if (messages.empty()) fail("the prompt has no messages");
  const std::string& role = messages.back().role;
  if (role == "assistant") fail("the prompt ends with an answer, expected a message of the user");
  if (role != "user") fail("the prompt ends with a message of the role {}, expected one of the user", role);
  if (is_blank(messages.back().content)) fail("the prompt is empty");
}

void check_responses(const Comparison& comparison, const std::vector<std::string>& names) {
  const auto& responses = comparison.responses;
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < responses.size(); ++i) {
    if (is_blank(responses[i])) fail("\"{}\" is empty", names[i]);
    const auto [earlier, is_new] = seen.emplace(responses[i], i);
    if (!is_new && comparison.merits[i] != comparison.merits[earlier->second]) {
      fail("\"{}\" and \"{}\" are equal, though one is said to be better", names[earlier->second], names[i]);
    }
  }
}

}  // namespace

ComparisonParser::ComparisonParser(const ComparisonOptions& options) : fields_(options.fields), labels_(options.labels), verdicts_(options.verdicts) {}

Comparison ComparisonParser::parse(Record record, bool& is_tie) const {
  return within(record.place, [&] {
    Draft draft;
    Comparison& comparison = draft.comparison;
    comparison.id = record.id;
    comparison.place = record.place;
    comparison.json = std::move(record.json);
    comparison.subset = subset_of(comparison.json);
    read_shape(draft);
    if (verdicts_ == Verdicts::kIgnored) comparison.merits.assign(comparison.responses.size(), 0);
    check_prompt(comparison.messages);
    check_responses(comparison, draft.names);
    const auto& merits = comparison.merits;
    is_tie = verdicts_ == Verdicts::kRequired && std::all_of(merits.begin(), merits.end(), [&](double merit) { return merit == merits.front(); });
    return std::move(comparison);
  });
}

// What the user named goes before what is there.
void ComparisonParser::read_shape(Draft& draft) const {
  const io::Json& record = draft.record();
  const bool names_chosen = fields_.is_given("chosen") || fields_.is_given("rejected");
  const bool names_list = fields_.is_given("responses");
  const bool names_pair = fields_.is_given("response_a") || fields_.is_given("response_b");
  const bool may_be_chosen = names_chosen || (!names_list && !names_pair), may_be_list = names_list || !names_pair;
  if (names_chosen || (may_be_chosen && (fields_.find(record, "chosen") || fields_.find(record, "rejected")))) return read_chosen(draft);
  if (names_list || (may_be_list && fields_.find(record, "responses"))) return read_list(draft);
  if (const auto pair = find_pair(record)) return read_pair(draft, *pair);
  fail("it has no \"chosen\" and \"rejected\", no \"responses\", and no two of names such as \"response_a\" and \"response_b\"; found {} (--fields says which are which)",
       names_in(record));
}

void ComparisonParser::read_chosen(Draft& draft) const {
  const FoundField chosen = fields_.at(draft.record(), "chosen"), rejected = fields_.at(draft.record(), "rejected");
  if (is_list_of_strings(*chosen.value) || is_list_of_strings(*rejected.value)) return read_styles(draft, chosen, rejected);
  read_texts(draft, {chosen, rejected});
  if (verdicts_ == Verdicts::kRequired) read_chosen_merits(draft);
}

void ComparisonParser::read_chosen_merits(Draft& draft) const {
  Comparison& comparison = draft.comparison;
  const auto margin = fields_.find(draft.record(), "margin");
  const auto better = fields_.find(draft.record(), "score_chosen"), worse = fields_.find(draft.record(), "score_rejected");
  Judged judged;
  if (margin) judged.emplace_back("margin", &*margin);
  if (better || worse) judged.emplace_back("score_chosen", better ? &*better : &*worse);
  check_single(judged);
  comparison.merits = {1, 0};
  if (margin) {
    comparison.margin = number_of(*margin);
    if (*comparison.margin < 0) fail("\"{}\" is {}, expected no less than 0", margin->name, *comparison.margin);
  } else if (better || worse) {
    comparison.is_graded = true;
    comparison.merits = {number_of(fields_.at(draft.record(), "score_chosen")), number_of(fields_.at(draft.record(), "score_rejected"))};
    if (comparison.merits[0] < comparison.merits[1]) {
      fail("\"{}\" is {}, less than {} of what was rejected; \"--fields score_chosen= --fields score_rejected=\" leaves scores out", better->name, comparison.merits[0],
           comparison.merits[1]);
    }
  }
}

void ComparisonParser::read_styles(Draft& draft, const FoundField& chosen, const FoundField& rejected) const {
  draft.comparison.messages = prompt_of(draft.record());
  std::vector<size_t> counts;
  for (const FoundField& field : {chosen, rejected}) {
    const std::vector<std::string> texts = strings_of(field);
    if (texts.empty()) fail("\"{}\" is empty, expected at least one response", field.name);
    for (size_t i = 0; i < texts.size(); ++i) draft.add(texts[i], fmt::format("{}[{}]", field.name, i));
    draft.comparison.merits.insert(draft.comparison.merits.end(), texts.size(), counts.empty() ? 1 : 0);
    counts.push_back(texts.size());
  }
  if (counts[0] == counts[1]) draft.comparison.styles = static_cast<int64_t>(counts[0]);
}

void ComparisonParser::read_list(Draft& draft) const {
  const io::Json& record = draft.record();
  const FoundField list = fields_.at(record, "responses");
  if (list.value->is_object()) {
    fail("\"{}\" is an object, expected a list; --fields chosen={}.NAME --fields rejected={}.NAME makes pairs of it", list.name, list.name, list.name);
  }
  for (const std::string& text : strings_of(list)) draft.add(text, fmt::format("{}[{}]", list.name, draft.names.size()));
  const size_t count = draft.names.size();
  if (count < 2) fail("\"{}\" has {}, expected at least two responses", list.name, count == 1 ? "one" : "none");
  draft.comparison.messages = prompt_of(record);
  if (verdicts_ == Verdicts::kRequired) read_list_merits(draft, list);
}

void ComparisonParser::read_list_merits(Draft& draft, const FoundField& list) const {
  const io::Json& record = draft.record();
  const size_t count = draft.names.size();
  const auto ranks = fields_.find(record, "ranks"), scores = fields_.find(record, "scores"), label = fields_.find(record, "label");
  Judged judged;
  if (ranks) judged.emplace_back("ranks", &*ranks);
  if (scores) judged.emplace_back("scores", &*scores);
  check_single(judged);
  if (judged.empty() && count == 2 && label) return read_pair_merits(draft, {{list.value, draft.names[0]}, {list.value, draft.names[1]}, false});
  if (judged.empty()) {
    fail("it has no {} and no {}{}, expected which of \"{}\" are better", fields_.looked_for("ranks"), fields_.looked_for("scores"),
         count == 2 ? " and no " + fields_.looked_for("label") : "", list.name);
  }
  draft.comparison.is_graded = scores.has_value();
  draft.comparison.merits = numbers_of(*judged.front().second, count);
  if (ranks) std::transform(draft.comparison.merits.begin(), draft.comparison.merits.end(), draft.comparison.merits.begin(), [](double rank) { return 0 - rank; });
}

std::optional<FieldPair> ComparisonParser::find_pair(const io::Json& record) const {
  if (!fields_.is_given("response_a") && !fields_.is_given("response_b")) return find_usual_pair(record, PairKind::kResponses);
  return FieldPair{fields_.at(record, "response_a"), fields_.at(record, "response_b"), false};
}

void ComparisonParser::read_pair(Draft& draft, const FieldPair& pair) const {
  read_texts(draft, {pair.first, pair.second});
  if (verdicts_ == Verdicts::kRequired) read_pair_merits(draft, pair);
}

namespace {

// The votes of "annotator1", "annotator2"...
std::vector<FoundField> annotators_of(const io::Json& record) {
  constexpr std::string_view kName = "annotator";
  std::vector<FoundField> found;
  for (const auto& [name, value] : record.as_object()) {
    if (!starts_with(name, kName) || value.is_null()) continue;
    std::string_view number = std::string_view(name).substr(kName.size());
    if (starts_with(number, "_")) number.remove_prefix(1);
    if (!number.empty() && number.find_first_not_of("0123456789") == std::string_view::npos) found.push_back({&value, name});
  }
  return found;
}

std::vector<double> merits_of(Verdict verdict) {
  if (verdict == Verdict::kFirst) return {1, 0};
  if (verdict == Verdict::kSecond) return {0, 1};
  return {0, 0};
}

}  // namespace

void ComparisonParser::read_pair_merits(Draft& draft, const FieldPair& pair) const {
  const io::Json& record = draft.record();
  Comparison& comparison = draft.comparison;
  const std::vector<FoundField> annotators = annotators_of(record);
  const bool names_label = fields_.is_given("label"), names_scores = fields_.is_given("score_a") || fields_.is_given("score_b");
  std::optional<FoundField> label = names_label ? fields_.at(record, "label") : fields_.find(record, "label");
  std::optional<FieldPair> scores = find_usual_pair(record, PairKind::kScores);
  if (names_scores) scores = FieldPair{fields_.at(record, "score_a"), fields_.at(record, "score_b"), false};
  // What the user named outranks what happens to be there.
  if (names_label && !names_scores) scores.reset();
  if (names_scores && !names_label) label.reset();
  if (label && scores) {
    fail("it has both \"{}\" and \"{}\", expected one of them; \"--fields label={}\" takes the first, \"--fields label=\" the second", label->name, scores->first.name,
         label->name);
  }
  if (label) {
    comparison.merits = merits_of(labels_.read(*label, pair));
  } else if (scores) {
    comparison.merits = {number_of(scores->first), number_of(scores->second)};
    comparison.is_graded = true;
  } else if (!annotators.empty()) {
    size_t votes[3] = {};
    for (const FoundField& annotator : annotators) ++votes[static_cast<size_t>(labels_.read_vote(annotator, pair))];
    const bool first = 2 * votes[0] > annotators.size(), second = 2 * votes[1] > annotators.size();
    comparison.merits = merits_of(first ? Verdict::kFirst : second ? Verdict::kSecond : Verdict::kNeither);
  } else {
    fail("it has no {}, no scores of names such as \"score_a\" and \"score_b\", and no \"annotator1\", expected which of \"{}\" and \"{}\" is better",
         fields_.looked_for("label"), pair.first.name, pair.second.name);
  }
}

// Answers that are texts or messages, and their prompt.
void ComparisonParser::read_texts(Draft& draft, const std::vector<FoundField>& answers) const {
  if (std::any_of(answers.begin(), answers.end(), [](const FoundField& answer) { return answer.value->is_array(); })) return read_conversations(draft, answers);
  for (const FoundField& answer : answers) {
    if (!answer.value->is_string()) fail("\"{}\" is {}, expected a string or a list of messages", answer.name, answer.value->type_name());
    draft.add(answer.value->as_string(), answer.name);
  }
  Comparison& comparison = draft.comparison;
  std::string dialogue;
  if (!fields_.find(draft.record(), "prompt")) dialogue = take_common_dialogue(comparison.responses[0], comparison.responses[1]);
  if (dialogue.empty()) {
    comparison.messages = prompt_of(draft.record());
  } else {
    comparison.messages = system_of(draft.record());
    comparison.messages.push_back({"user", dialogue});
  }
}

void ComparisonParser::read_conversations(Draft& draft, const std::vector<FoundField>& answers) const {
  std::vector<std::vector<Message>> before;  // what stands before each answer
  for (const FoundField& answer : answers) {
    if (!answer.value->is_array()) fail("\"{}\" is {}, expected a list of messages as the other is", answer.name, answer.value->type_name());
    std::vector<Message> messages = messages_of(*answer.value, answer.name);
    if (messages.back().role != "assistant") fail("\"{}\" ends with a message of the role {}, expected an answer of the assistant", answer.name, messages.back().role);
    draft.add(std::move(messages.back().content), answer.name);
    messages.pop_back();
    before.push_back(std::move(messages));
  }
  if (before[0] != before[1]) fail("the conversations \"{}\" and \"{}\" part before their last answers", answers[0].name, answers[1].name);

  std::vector<Message>& messages = draft.comparison.messages;
  const auto prompt = fields_.find(draft.record(), "prompt");
  if (before[0].empty()) {
    messages = prompt_of(draft.record());
    return;
  }
  if (prompt) {
    for (const Message& message : prompt_of(draft.record())) {
      const bool is_there = std::find(before[0].begin(), before[0].end(), message) != before[0].end();
      if (!is_there && message.role != "system") fail("the conversation \"{}\" does not go on from \"{}\"", answers[0].name, prompt->name);
    }
  }
  messages = std::move(before[0]);
  if (messages.front().role != "system") {
    const std::vector<Message> system = system_of(draft.record());
    messages.insert(messages.begin(), system.begin(), system.end());
  }
}

std::vector<Message> ComparisonParser::system_of(const io::Json& record) const {
  const auto system = fields_.find(record, "system");
  if (!system || string_of(*system->value, system->name).empty()) return {};
  return {{"system", system->value->as_string()}};
}

std::vector<Message> ComparisonParser::prompt_of(const io::Json& record) const {
  const FoundField prompt = fields_.at(record, "prompt");
  std::vector<Message> messages = messages_of(*prompt.value, prompt.name);
  const io::Json* input = prompt.name == "instruction" ? record.find("input") : nullptr;
  if (input && !input->is_null() && !string_of(*input, "input").empty()) messages.back().content += "\n\n" + input->as_string();
  if (messages.front().role == "system") return messages;
  const std::vector<Message> system = system_of(record);
  messages.insert(messages.begin(), system.begin(), system.end());
  return messages;
}

std::string ComparisonParser::subset_of(const io::Json& record) const {
  const auto subset = fields_.find(record, "subset");
  if (!subset) return "";
  if (subset->value->is_int()) return fmt::format("{}", subset->value->as_int());
  if (!subset->value->is_string() && !fields_.is_given("subset")) return "";
  return string_of(*subset->value, subset->name);
}

Graded ComparisonParser::parse_graded(Record record) const {
  return within(record.place, [&] {
    Graded graded;
    graded.id = record.id;
    graded.place = record.place;
    graded.json = std::move(record.json);
    graded.messages = prompt_of(graded.json);
    check_prompt(graded.messages);
    const io::Json* response = graded.json.find("response");
    if (!response) fail("the field \"response\" is missing");
    graded.response = string_of(*response, "response");
    if (is_blank(graded.response)) fail("\"response\" is empty");
    graded.scores = scores_of(graded.json);
    return graded;
  });
}

std::map<std::string, double> scores_of(const io::Json& record) {
  const io::Json *scores = record.find("scores"), *score = record.find("score");
  if (scores && score) fail("it has both \"scores\" and \"score\", expected one of them");
  if (!scores && !score) fail("it has no \"scores\" and no \"score\", expected one of them");
  if (scores && !scores->is_object()) fail("\"scores\" is {}, expected an object of numbers by aspect", scores->type_name());
  const io::JsonObject of_one = score ? io::JsonObject{{"score", *score}} : scores->as_object();
  std::map<std::string, double> result;
  for (const auto& [aspect, value] : of_one) {
    if (!value.is_null()) result[aspect] = number_of(value, score ? "score" : "scores." + aspect);
  }
  if (result.empty()) fail("it has no score that is a number");
  return result;
}

Rated read_rated(Record record) {
  return within(record.place, [&] {
    const auto text = [&](const char* key) -> std::optional<std::string> {
      const io::Json* found = record.json.find(key);
      if (!found || found->is_null()) return std::nullopt;
      if (is_blank(string_of(*found, key))) fail("\"{}\" is empty", key);
      return found->as_string();
    };
    const auto needed = [&](const char* key) {
      const auto found = text(key);
      if (!found) fail("the field \"{}\" is missing", key);
      return *found;
    };
    Rated rated{record.id, record.place, needed("source"), needed("hypothesis"), text("reference"), scores_of(record.json), {}};
    rated.json = std::move(record.json);
    return rated;
  });
}

}  // namespace seqmill::text
