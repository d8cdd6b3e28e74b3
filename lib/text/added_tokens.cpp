#include "text/added_tokens.h"

#include <algorithm>

#include "base/strings.h"

namespace seqmill::text {

void SpecialTokens::add(int32_t id, const std::string& text) {
  ids_.emplace(text, id);
  if (static_cast<size_t>(id) >= is_special_.size()) is_special_.resize(static_cast<size_t>(id) + 1);
  is_special_[static_cast<size_t>(id)] = true;
}

int32_t SpecialTokens::find(std::string_view text) const {
  const auto found = ids_.find(std::string(text));
  return found == ids_.end() ? -1 : found->second;
}

void AddedTokenFinder::add(const AddedToken& token) {
  std::vector<AddedToken>& tokens = by_first_byte_[token.text.front()];
  const auto is_shorter = [&](const AddedToken& other) { return other.text.size() < token.text.size(); };
  tokens.insert(std::find_if(tokens.begin(), tokens.end(), is_shorter), token);
}

const AddedToken* AddedTokenFinder::find_at(std::string_view text) const {
  const auto tokens = by_first_byte_.find(text.front());
  if (tokens == by_first_byte_.end()) return nullptr;
  for (const AddedToken& token : tokens->second) {
    if (starts_with(text, token.text)) return &token;
  }
  return nullptr;
}

std::vector<AddedTokenFinder::Part> AddedTokenFinder::split(std::string_view text) const {
  std::vector<Part> parts;
  size_t done = 0;
  for (size_t i = 0; i < text.size() && !empty();) {
    const AddedToken* token = find_at(text.substr(i));
    if (!token) {
      ++i;
      continue;
    }
    if (i > done) parts.push_back({text.substr(done, i - done), -1});
    parts.push_back({text.substr(i, token->text.size()), token->id});
    done = i += token->text.size();
  }
  if (done < text.size()) parts.push_back({text.substr(done), -1});
  return parts;
}

}  // namespace seqmill::text
