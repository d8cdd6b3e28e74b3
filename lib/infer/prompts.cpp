#include "infer/prompts.h"

#include <algorithm>

namespace seqmill::infer {
namespace {

constexpr int64_t kLongestLine = int64_t{1} << 26;  // bytes

// Moves the id to the front, or puts one there.
void identify(PromptRecord& record, int64_t number) {
  io::JsonObject& members = record.json.as_object();
  const auto found = std::find_if(members.begin(), members.end(), [](const auto& member) { return member.first == "id"; });
  if (found == members.end()) {
    members.insert(members.begin(), {"id", io::Json(number)});
  } else {
    std::rotate(members.begin(), found, found + 1);
  }
  const io::Json& id = members.front().second;
  if (!id.is_string() && !id.is_int()) fail("{}: \"id\" is {}; expected a string or an integer", record.where, id.type_name());
  record.id = id.is_string() ? id.as_string() : id.dump();
}

}  // namespace

PromptReader::PromptReader(const std::string& path, const std::string& format) : reader_(path, {kLongestLine, false}), is_text_(format == "text") {}

PromptRecord PromptReader::record() const {
  PromptRecord record;
  record.where = fmt::format("{}:{}", reader_.name(), reader_.line_number());
  if (is_text_) {
    record.json = io::Json::object();
    record.json.set("prompt", line_);
  } else {
    record.json = io::parse_json(line_, record.where);
    if (!record.json.is_object()) fail("{}: expected an object with the field \"prompt\", found {}", record.where, record.json.type_name());
  }
  identify(record, reader_.line_number() - 1);
  return record;
}

std::vector<text::Message> prompt_messages(const io::Json& record) {
  const io::Json* prompt = record.find("prompt");
  if (!prompt) fail("it has no field \"prompt\"");
  std::vector<text::Message> messages = text::read_messages(*prompt);
  if (messages.empty() || (prompt->is_string() && prompt->as_string().empty())) fail("the prompt is empty");
  return messages;
}

bool cut_left(Tokens& prompt, int64_t most, int32_t bos) {
  const auto size = static_cast<int64_t>(prompt.size());
  if (size <= most) return false;
  const bool keeps_bos = most > 1 && bos >= 0 && prompt[0] == bos;
  const int64_t kept = std::max<int64_t>(1, most) - (keeps_bos ? 1 : 0);
  prompt.erase(prompt.begin() + (keeps_bos ? 1 : 0), prompt.end() - kept);
  return true;
}

}  // namespace seqmill::infer
