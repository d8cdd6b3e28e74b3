#include "text/comparison_fields.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::text {
namespace {

// Ours, and what they are usually called, in the order in which they are looked for.
const std::map<std::string, std::vector<std::string>>& usual_names() {
  static const std::map<std::string, std::vector<std::string>> names = {
      {"prompt", {"prompt", "messages", "question", "query", "instruction", "input"}},
      {"system", {"system", "system_prompt"}},
      {"chosen", {"chosen"}},
      {"rejected", {"rejected"}},
      {"margin", {"margin"}},
      {"score_chosen", {"score_chosen", "chosen_score", "metadata.score_chosen"}},
      {"score_rejected", {"score_rejected", "rejected_score", "metadata.score_rejected"}},
      {"responses", {"responses"}},
      {"ranks", {"ranks"}},
      {"scores", {"scores"}},
      {"response_a", {}},
      {"response_b", {}},
      {"score_a", {}},
      {"score_b", {}},
      {"label", {"label", "preference", "winner"}},
      {"subset", {"subset", "source", "domain", "scenario"}},
  };
  return names;
}

struct Endings {
  const char *first, *second, *third;
  bool counts_from_zero;
};

// Those from zero come first: of three, the last two would be taken for a pair that counts from one.
constexpr Endings kEndings[] = {{"_0", "_1", "_2", true},  {"0", "1", "2", true},     {"_1", "_2", "_3", false}, {"1", "2", "3", false},    {" 1", " 2", " 3", false},
                                {"_a", "_b", "_c", false}, {"_A", "_B", "_C", false}, {" A", " B", " C", false}, {" a", " b", " c", false}, {"A", "B", "C", false}};

const io::Json* present(const io::Json* value) { return value && !value->is_null() ? value : nullptr; }

// The member of that name, or the one at the end of a path such as metadata.score.
const io::Json* look_up(const io::Json& record, const std::string& path) {
  if (const io::Json* value = record.find(path)) return present(value);
  const io::Json* value = &record;
  for (const std::string& part : split(path, '.')) {
    if (!value->is_object()) return nullptr;
    value = value->find(part);
    if (!value) return nullptr;
  }
  return present(value);
}

// One value may hold several, as in --labels 0,1,2.
std::vector<std::string> parts_of(const std::vector<std::string>& values) {
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    for (std::string& part : split(value, ',')) parts.push_back(std::move(part));
  }
  return parts;
}

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) text += fmt::format("{}\"{}\"", i == 0 ? "" : i + 1 < names.size() ? ", " : " or ", names[i]);
  return text;
}

}  // namespace

ComparisonFields::ComparisonFields(const std::vector<std::string>& given) {
  std::vector<std::string> ours;
  for (const auto& [name, names] : usual_names()) ours.push_back(name);
  for (const std::string& entry : parts_of(given)) {
    const size_t at = entry.find('=');
    const std::string name = entry.substr(0, at);
    if (at == std::string::npos) fail_usage("--fields '{}': expected a name of ours and the record's, as in prompt=question", entry);
    if (usual_names().count(name) == 0) {
      const std::string near = nearest(name, ours);
      fail_usage("--fields '{}': '{}' is no field of comparisons{}; expected one of {}", entry, name, near.empty() ? "" : fmt::format(", did you mean {}?", near),
                 join(ours, ", "));
    }
    const std::string theirs = entry.substr(at + 1);
    if (!given_.emplace(name, theirs.empty() ? std::vector<std::string>{} : std::vector<std::string>{theirs}).second) fail_usage("--fields says twice what '{}' is", name);
  }
}

const std::vector<std::string>& ComparisonFields::names_of(const std::string& ours) const {
  const auto found = given_.find(ours);
  return found != given_.end() ? found->second : usual_names().at(ours);
}

std::optional<FoundField> ComparisonFields::find(const io::Json& record, const std::string& ours) const {
  for (const std::string& name : names_of(ours)) {
    if (const io::Json* value = look_up(record, name)) return FoundField{value, name};
  }
  return std::nullopt;
}

FoundField ComparisonFields::at(const io::Json& record, const std::string& ours) const {
  const auto found = find(record, ours);
  if (!found) fail("the field {} is missing", looked_for(ours));
  return *found;
}

std::string ComparisonFields::looked_for(const std::string& ours) const {
  const std::vector<std::string>& names = names_of(ours);
  return names.empty() ? fmt::format("\"{}\"", ours) : quoted(names);
}

std::optional<FieldPair> find_usual_pair(const io::Json& record, PairKind kind) {
  static const std::vector<const char*> responses = {"response", "answer", "output", "completion", "candidate"}, scores = {"score", "rating"};
  const std::vector<const char*>& names = kind == PairKind::kResponses ? responses : scores;
  for (const char* stem : names) {
    const std::string name = stem;
    for (const Endings& endings : kEndings) {
      const FoundField first{present(record.find(name + endings.first)), name + endings.first}, second{present(record.find(name + endings.second)), name + endings.second};
      if (!first.value || !second.value) continue;
      const std::string third = name + endings.third;
      if (present(record.find(third))) fail("it has \"{}\" too, expected two of that kind, or a list \"{}s\"", third, name);
      return FieldPair{first, second, endings.counts_from_zero};
    }
  }
  return std::nullopt;
}

ComparisonLabels::ComparisonLabels(const std::vector<std::string>& given) : given_(parts_of(given)) {
  if (given_.empty()) return;
  if (given_.size() != 2 && given_.size() != 3) {
    fail_usage("--labels has {} values, expected two or three: the first is better, the second is better, and neither is", given_.size());
  }
  if (std::set<std::string>(given_.begin(), given_.end()).size() != given_.size()) fail_usage("--labels {}: expected values that differ", join(given_, ","));
}

namespace {

// As it would be written without quotes; 1.0 is 1.
std::string text_of(const FoundField& label) {
  const io::Json& value = *label.value;
  if (value.is_string()) return value.as_string();
  if (value.is_bool()) return value.as_bool() ? "true" : "false";
  if (value.is_int()) return fmt::format("{}", value.as_int());
  if (value.is_number()) return format_double(value.as_double());
  fail("\"{}\" is {}, expected a label", label.name, value.type_name());
}

// "Response A" and "response_a" mean the same: "a", as do "A>>B" and "a > b": "a>b".
std::string simplified(const std::string& label) {
  std::string simple;
  for (const char c : label) {
    if (c == ' ' || c == '_' || c == '-') continue;
    if (c == '>' && !simple.empty() && simple.back() == '>') continue;
    simple += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  for (const char* name : {"response", "answer", "output", "completion", "candidate", "model", "assistant"}) {
    if (starts_with(simple, name)) return simple.substr(std::string(name).size());
  }
  return simple;
}

}  // namespace

Verdict ComparisonLabels::read(const FoundField& label, const FieldPair& pair) const {
  const std::string text = text_of(label);
  if (given_.empty()) {
    const bool is_name = text == pair.first.name || text == pair.second.name;
    if (simplified(text) == "0" && !is_name && !pair.counts_from_zero) {
      fail_usage("\"{}\" is 0, which may mean the first answer or neither; --labels says which: 0,1 or 0,1,2 where it is the first (and 1 the second), 1,2,0 where it is neither",
                 label.name);
    }
    return read_usual(text, label.name, pair);
  }
  const auto found = std::find(given_.begin(), given_.end(), text);
  if (found == given_.end()) fail("\"{}\" is \"{}\", expected one of {} (--labels)", label.name, excerpt(text, 40), join(given_, ", "));
  return static_cast<Verdict>(found - given_.begin());
}

Verdict ComparisonLabels::read_vote(const FoundField& vote, const FieldPair& pair) const {
  return given_.empty() ? read_usual(text_of(vote), vote.name, pair) : read(vote, pair);
}

Verdict ComparisonLabels::read_usual(const std::string& label, const std::string& name, const FieldPair& pair) const {
  static const std::set<std::string> first = {"1", "a", "a>b", "1>2", "first"}, second = {"2", "b", "b>a", "2>1", "second"},
                                     neither = {"0", "tie", "a=b", "b=a", "1=2", "2=1", "both", "neither", "equal", "same", "tie(bothbad)", "bothbad"};
  if (label == pair.first.name) return Verdict::kFirst;
  if (label == pair.second.name) return Verdict::kSecond;
  const std::string simple = simplified(label);
  if (pair.counts_from_zero && (simple == "0" || simple == "1" || simple == "2")) {
    fail("\"{}\" is {}, and the names of what is compared count from 0; --labels says what it means, as in --labels 0,1 where it counts so too", name, label);
  }
  if (first.count(simple) > 0) return Verdict::kFirst;
  if (second.count(simple) > 0) return Verdict::kSecond;
  if (neither.count(simple) > 0) return Verdict::kNeither;
  fail("\"{}\" is \"{}\", expected 1 or A (the first is better), 2 or B (the second), or tie (neither); --labels names others", name, excerpt(label, 40));
}

}  // namespace seqmill::text
