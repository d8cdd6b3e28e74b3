#include "text/records.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "text/record_fields.h"

namespace seqmill::text {
namespace {

constexpr int64_t kMaxLineBytes = 16 << 20;

std::string read_id(const io::Json& id) {
  if (id.is_string()) return id.as_string();
  if (id.is_int()) return fmt::format("{}", id.as_int());
  fail("\"id\" is {}, expected a string or an integer", id.type_name());
}

const std::string& string_field(const io::Json& json, const char* key) { return string_of(json.at(key), key); }

std::vector<Message> messages_field(const io::Json& json, const char* key) { return messages_of(json.at(key), key); }

void check_empty(const std::vector<Message>& messages, EmptyPrompts empty) {
  if (empty == EmptyPrompts::kRefuse && messages.back().content.empty()) fail("the prompt is empty");
}

// Which of these fields, each the mark of a form, the record has; exactly one.
std::string form_of(const io::Json& json, const std::vector<std::string>& fields) {
  std::string form;
  for (const std::string& field : fields) {
    if (!json.find(field)) continue;
    if (!form.empty()) fail("it has both \"{}\" and \"{}\", expected one of them", form, field);
    form = field;
  }
  if (form.empty()) {
    if (fields.size() == 1) fail("the field \"{}\" is missing", fields[0]);
    fail("it has no \"{}\", expected one of them", join(fields, "\" and no \""));
  }
  return form;
}

std::vector<Message> system_of(const io::Json& json) {
  const io::Json* system = json.find("system");
  if (!system || system->is_null() || (system->is_string() && system->as_string().empty())) return {};
  return {{"system", string_field(json, "system")}};
}

std::vector<Message> prompt_of(const io::Json& json) { return messages_field(json, form_of(json, {"prompt", "messages"}).c_str()); }

// {prompt, response}
std::vector<Message> answered_prompt(const io::Json& json, EmptyPrompts empty) {
  std::vector<Message> messages = messages_field(json, "prompt");
  check_empty(messages, empty);
  if (messages.back().role == "assistant") fail("the prompt ends with an answer; expected a message of the user, and the answer as \"response\"");
  const std::vector<Message> system = system_of(json);
  messages.insert(messages.begin(), system.begin(), system.end());
  messages.push_back({"assistant", string_field(json, "response")});
  return messages;
}

// {instruction, input?, output}
std::vector<Message> answered_instruction(const io::Json& json, EmptyPrompts empty) {
  std::vector<Message> messages = system_of(json);
  std::string question = string_field(json, "instruction");
  const io::Json* input = json.find("input");
  if (input && !input->is_null() && !string_field(json, "input").empty()) question += "\n\n" + input->as_string();
  messages.push_back({"user", question});
  check_empty(messages, empty);
  messages.push_back({"assistant", string_field(json, "output")});
  return messages;
}

}  // namespace

int64_t read_all_records(const std::vector<std::string>& files, bool skip_bad, const std::function<void(Record record)>& read) {
  int64_t bad = 0;
  for (const std::string& file : files) {
    RecordReader reader(file);
    const auto read_one = [&] {
      Record record;
      if (!reader.next(record)) return false;
      read(std::move(record));
      return true;
    };
    const auto leave_out = [&](const Error& error) {
      log::warn("left out: {}", error.what());
      ++bad;
    };
    while (read_or_leave_out(skip_bad, [&] { return reader.line_number(); }, read_one, leave_out)) continue;
  }
  return bad;
}

io::LineLimits record_limits() {
  io::LineLimits limits;
  limits.max_bytes = kMaxLineBytes;
  return limits;
}

RecordReader::RecordReader(const std::string& path) : reader_(path, record_limits()) {}

bool RecordReader::next(Record& record) {
  if (!reader_.next(line_)) return false;
  const std::string line = fmt::format("{}:{}", reader_.name(), reader_.line_number());
  if (trim(line_).empty()) fail("{}: found an empty line, expected a JSON object", line);
  record = make_record(io::parse_json(line_, line), line, reader_.line_number());
  return true;
}

Record make_record(io::Json json, const std::string& where, int64_t number) {
  if (!json.is_object()) fail("{}: expected a JSON object, found {}", where, json.type_name());
  Record record;
  record.json = std::move(json);
  if (const io::Json* id = record.json.find("id")) {
    record.id = within(where, [&] { return read_id(*id); });
  } else {
    io::JsonObject& members = record.json.as_object();
    members.emplace(members.begin(), "id", io::Json(number));
    record.id = fmt::format("{}", number);
  }
  record.place = fmt::format("{}: record {}", where, excerpt(record.id, 100));
  return record;
}

PromptRecord read_prompt(Record record, EmptyPrompts empty) {
  return within(record.place, [&] {
    std::vector<Message> messages = prompt_of(record.json);
    check_empty(messages, empty);
    return PromptRecord{std::move(record.id), std::move(messages), std::move(record.json)};
  });
}

PromptRecord plain_prompt(const std::string& text, int64_t line_number) {
  return {fmt::format("{}", line_number), {{"user", text}}, io::JsonObject{{"id", line_number}, {"prompt", text}}};
}

PromptRecord read_conversation(Record record, EmptyPrompts empty) {
  return within(record.place, [&] {
    const std::string form = form_of(record.json, {"messages", "prompt", "instruction"});
    std::vector<Message> messages = form == "prompt"        ? answered_prompt(record.json, empty)
                                    : form == "instruction" ? answered_instruction(record.json, empty)
                                                            : messages_field(record.json, "messages");
    const auto is_answer = [](const Message& message) { return message.role == "assistant"; };
    if (std::none_of(messages.begin(), messages.end(), is_answer)) fail("it has no answer, expected a message of the role assistant");
    return PromptRecord{std::move(record.id), std::move(messages), std::move(record.json)};
  });
}

ScoringRecord read_scoring(Record record, EmptyPrompts empty) {
  return within(record.place, [&] {
    ScoringRecord result;
    result.messages = prompt_of(record.json);
    check_empty(result.messages, empty);
    result.is_list = form_of(record.json, {"response", "responses"}) == "responses";
    if (result.is_list) {
      const io::Json& list = record.json.at("responses");
      if (!list.is_array()) fail("\"responses\" is {}, expected a list of strings", list.type_name());
      if (list.as_array().empty()) fail("\"responses\" is empty, expected at least one");
      for (const io::Json& item : list.as_array()) {
        if (!item.is_string()) fail("\"responses\" holds {}, expected strings", item.type_name());
        result.responses.push_back(item.as_string());
      }
    } else {
      result.responses.push_back(string_field(record.json, "response"));
    }
    result.id = std::move(record.id);
    result.json = std::move(record.json);
    return result;
  });
}

namespace {

std::string fields_of(const io::Json& record) {
  if (!record.is_object()) return record.type_name();
  std::string names;
  for (const auto& [name, value] : record.as_object()) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "an object without fields" : "one with " + names;
}

}  // namespace

io::LineLimits document_limits() { return {int64_t{1} << 26, false}; }

std::string document_of(const std::string& line, const std::string& where, const std::string& field) {
  const io::Json record = io::parse_json(line, where);
  const io::Json* text = record.is_object() ? record.find(field) : nullptr;
  if (!text) fail("{}: expected an object with the field \"{}\" (--text-field), found {}", where, field, fields_of(record));
  if (!text->is_string()) fail("{}: field \"{}\": expected a string, found {}", where, field, text->type_name());
  return text->as_string();
}

}  // namespace seqmill::text
