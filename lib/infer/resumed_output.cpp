#include "infer/resumed_output.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "io/line_reader.h"

namespace seqmill::infer {
namespace {

constexpr const char* kAdvice = "expected the beginning of what this call writes; name another --output, or leave --resume out to begin anew";

size_t hash_without_hypotheses(const io::Json& record) {
  io::JsonObject rest;
  for (const auto& member : record.as_object()) {
    if (member.first != "hypotheses") rest.push_back(member);
  }
  return std::hash<std::string>()(io::Json(std::move(rest)).dump());
}

/// What the record of a prompt begins with, up to its first hypothesis.
std::string head_of(const io::Json& input) {
  io::JsonObject before;
  for (const auto& member : input.as_object()) {
    if (member.first == "hypotheses") break;
    before.push_back(member);
  }
  before.emplace_back("hypotheses", io::Json::array());
  const std::string whole = io::Json(std::move(before)).dump();
  return whole.substr(0, whole.size() - 2);  // without ]}
}

}  // namespace

ResumedOutput::ResumedOutput(const std::string& path, const io::Json& call, bool by_beam) : path_(path), call_(call), by_beam_(by_beam), file_(path) {
  read(call.at("model").as_string(), call.at("samples").as_int());
  // What nothing came of may be begun by any call.
  if (size() == 0 && !has_tail()) return;
  knows_call_ = std::filesystem::exists(companion());
  if (knows_call_) check_call();
}

void ResumedOutput::read(const std::string& origin, int64_t samples) {
  io::ByteReader reader(path_);
  std::array<char, size_t{1} << 16> buffer;
  for (size_t count; (count = reader.read(buffer.data(), buffer.size())) > 0;) {
    tail_.append(buffer.data(), count);
    size_t begin = 0;
    for (size_t end; (end = tail_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      prompts_.push_back(read_record(std::string_view(tail_).substr(begin, end - begin), origin, samples));
      whole_ += static_cast<int64_t>(end + 1 - begin);
    }
    tail_.erase(0, begin);
  }
}

ResumedOutput::Prompt ResumedOutput::read_record(std::string_view line, const std::string& origin, int64_t samples) const {
  const std::string where = fmt::format("{}:{}", path_, prompts_.size() + 1);
  const io::Json record = io::parse_json(line, where);
  const io::Json* hypotheses = record.is_object() ? record.find("hypotheses") : nullptr;
  const io::Json* id = record.is_object() ? record.find("id") : nullptr;
  if (!hypotheses || !hypotheses->is_array() || !id) fail("{} is no record of hypotheses: {}", where, kAdvice);
  const auto count = static_cast<int64_t>(hypotheses->as_array().size());
  if (by_beam_ ? count > samples : count != samples) fail("{} has {} hypotheses, not --samples {}: {}", where, count, samples, kAdvice);
  for (const io::Json& hypothesis : hypotheses->as_array()) {
    const io::Json* found = hypothesis.is_object() ? hypothesis.find("origin") : nullptr;
    if (!found || !found->is_string()) fail("{} has a hypothesis without origin: {}", where, kAdvice);
    if (found->as_string() != origin) fail("{} is of the model '{}', not '{}': {}", where, found->as_string(), origin, kAdvice);
  }
  return {id->is_string() ? id->as_string() : id->dump(), hash_without_hypotheses(record)};
}

void ResumedOutput::check_call() const {
  const io::Json before = io::read_json(companion());
  if (!before.is_object()) fail("{}: expected an object, found {}", companion(), before.type_name());
  for (const auto& [name, value] : call_.as_object()) {
    const io::Json* found = before.find(name);
    if (found && found->dump() == value.dump()) continue;
    fail("{} was begun with --{} {}, and this call has {}: {}", path_, name, found ? found->dump() : "that is not known", value.dump(), kAdvice);
  }
}

void ResumedOutput::check(int64_t number, const io::Json& input, const std::string& id, const std::string& where) const {
  const Prompt& prompt = prompts_[static_cast<size_t>(number)];
  if (prompt.id != id) fail("{}:{} has the id {}, and record {} of the input ({}) the id {}: {}", path_, number + 1, prompt.id, number + 1, where, id, kAdvice);
  if (prompt.hash != hash_without_hypotheses(input)) {
    fail("{}:{} has another prompt or other fields than record {} of the input ({}): {}", path_, number + 1, id, where, kAdvice);
  }
}

void ResumedOutput::check_tail(const io::Json& input, const std::string& where) const {
  const std::string head = head_of(input);
  const size_t size = std::min(head.size(), tail_.size());
  if (tail_.compare(0, size, head, 0, size) != 0) {
    fail("{}:{} has no line end, and is not the beginning of a record for {}: {}", path_, size_t{1} + prompts_.size(), where, kAdvice);
  }
}

void ResumedOutput::begin() {
  io::write_file(companion(), call_.dump_pretty() + "\n");
  file_.cut(whole_);
}

void ResumedOutput::close() {
  file_.close();
  if (std::remove(companion().c_str()) != 0) fail_errno("cannot remove " + companion());
}

}  // namespace seqmill::infer
