#include "infer/resumed_output.h"

#include <array>
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

}  // namespace

ResumedOutput::ResumedOutput(const std::string& path, const std::string& origin, int64_t samples, bool fewer) : path_(path), file_(path) {
  read(origin, samples, fewer);
}

void ResumedOutput::read(const std::string& origin, int64_t samples, bool fewer) {
  io::ByteReader reader(path_);
  std::array<char, size_t{1} << 16> buffer;
  std::string pending;
  int64_t whole = 0;
  for (size_t count; (count = reader.read(buffer.data(), buffer.size())) > 0;) {
    pending.append(buffer.data(), count);
    size_t begin = 0;
    for (size_t end; (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1) {
      prompts_.push_back(read_record(std::string_view(pending).substr(begin, end - begin), origin, samples, fewer));
      whole += static_cast<int64_t>(end + 1 - begin);
    }
    pending.erase(0, begin);
  }
  file_.cut(whole);
}

ResumedOutput::Prompt ResumedOutput::read_record(std::string_view line, const std::string& origin, int64_t samples, bool fewer) const {
  const std::string where = fmt::format("{}:{}", path_, prompts_.size() + 1);
  const io::Json record = io::parse_json(line, where);
  const io::Json* hypotheses = record.is_object() ? record.find("hypotheses") : nullptr;
  const io::Json* id = record.is_object() ? record.find("id") : nullptr;
  if (!hypotheses || !hypotheses->is_array() || !id) fail("{} is no record of hypotheses: {}", where, kAdvice);
  const auto count = static_cast<int64_t>(hypotheses->as_array().size());
  if (fewer ? count > samples : count != samples) fail("{} has {} hypotheses, not --samples {}: {}", where, count, samples, kAdvice);
  for (const io::Json& hypothesis : hypotheses->as_array()) {
    const io::Json* found = hypothesis.is_object() ? hypothesis.find("origin") : nullptr;
    if (!found || !found->is_string()) fail("{} has a hypothesis without origin: {}", where, kAdvice);
    if (found->as_string() != origin) fail("{} is of the model '{}', not '{}': {}", where, found->as_string(), origin, kAdvice);
  }
  return {id->is_string() ? id->as_string() : id->dump(), hash_without_hypotheses(record)};
}

void ResumedOutput::check(int64_t number, const io::Json& input, const std::string& id, const std::string& where) const {
  const Prompt& prompt = prompts_[static_cast<size_t>(number)];
  if (prompt.id != id) fail("{}:{} has the id {}, and record {} of the input ({}) the id {}: {}", path_, number + 1, prompt.id, number + 1, where, id, kAdvice);
  if (prompt.hash != hash_without_hypotheses(input)) {
    fail("{}:{} has another prompt or other fields than record {} of the input ({}): {}", path_, number + 1, id, where, kAdvice);
  }
}

}  // namespace seqmill::infer
