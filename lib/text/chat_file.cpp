#include "text/chat_file.h"

#include <algorithm>

#include "base/error.h"
#include "base/strings.h"
#include "io/yaml.h"

namespace seqmill::text {
namespace {

constexpr std::string_view kContent = "{content}";

struct SpecialToken {
  std::string text;
  int32_t id;
};

// The longest first.
std::vector<SpecialToken> special_tokens(const Tokenizer& tokenizer) {
  std::vector<SpecialToken> tokens;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.is_special(id) && !tokenizer.piece(id).empty()) tokens.push_back({tokenizer.piece(id), id});
  }
  std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  return tokens;
}

std::vector<FramePart> parts_of(std::string_view text, const std::vector<SpecialToken>& tokens) {
  std::vector<FramePart> parts;
  while (!text.empty()) {
    const auto token = std::find_if(tokens.begin(), tokens.end(), [&](const SpecialToken& t) { return starts_with(text, t.text); });
    if (token != tokens.end()) {
      parts.push_back({"", token->id});
      text.remove_prefix(token->text.size());
      continue;
    }
    if (parts.empty() || parts.back().id >= 0) parts.push_back({"", -1});
    parts.back().text += text.front();
    text.remove_prefix(1);
  }
  return parts;
}

[[noreturn]] void fail_at(const io::ConfigEntry& entry, const std::string& message) { fail_usage("{}:{}: {}", entry.file, entry.line, message); }

RoleFrame frame_of(const io::ConfigEntry& entry, const std::vector<SpecialToken>& tokens) {
  const std::string_view text = entry.values[0];
  const size_t place = text.find(kContent);
  if (place == std::string_view::npos) fail_at(entry, fmt::format("'{}' has no place for the content, expected {} once", entry.key, kContent));
  const std::string_view after = text.substr(place + kContent.size());
  if (after.find(kContent) != std::string_view::npos) fail_at(entry, fmt::format("'{}' has {} more than once", entry.key, kContent));
  return {parts_of(text.substr(0, place), tokens), parts_of(after, tokens)};
}

}  // namespace

ChatFrames read_chat_file(const std::string& path, const Tokenizer& tokenizer) {
  const std::vector<SpecialToken> tokens = special_tokens(tokenizer);
  ChatFrames frames;
  if (tokenizer.bos() >= 0) frames.begin = {{"", tokenizer.bos()}};
  for (const io::ConfigEntry& entry : io::read_yaml(path)) {
    if (entry.is_list) fail_at(entry, fmt::format("'{}' is a list, expected a text", entry.key));
    if (entry.key == "begin") {
      if (entry.values[0].find(kContent) != std::string::npos) fail_at(entry, fmt::format("'begin' belongs to no message, it cannot hold {}", kContent));
      frames.begin = parts_of(entry.values[0], tokens);
    } else if (entry.key == "system") {
      frames.system = frame_of(entry, tokens);
    } else if (entry.key == "user") {
      frames.user = frame_of(entry, tokens);
    } else if (entry.key == "assistant") {
      frames.assistant = frame_of(entry, tokens);
    } else {
      fail_at(entry, fmt::format("'{}' is no part of a template, expected begin, system, user or assistant", excerpt(entry.key, 40)));
    }
  }
  if (!frames.assistant) fail_usage("{}: the template has no place for the answer, expected the key 'assistant'", path);
  return frames;
}

}  // namespace seqmill::text
