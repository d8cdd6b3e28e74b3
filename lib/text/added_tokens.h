#pragma once
// Tokens that were added to a tokeniser beside its vocabulary: special ones, which stand for no text, and others, which are found in texts whole.

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace seqmill::text {

struct AddedToken {
  int32_t id = -1;
  std::string text;
  bool special = false;
  bool normalized = false;  ///< is looked for in normalised text
};

/// Special tokens by text and by id.
class SpecialTokens {
 public:
  void add(int32_t id, const std::string& text);
  int32_t find(std::string_view text) const;  ///< -1: none
  bool contains(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < is_special_.size() && is_special_[static_cast<size_t>(id)]; }

 private:
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<bool> is_special_;
};

/// Finds added tokens in texts, the first and of those the longest.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token);
  bool empty() const { return by_first_byte_.empty(); }

  struct Part {
    std::string_view text;
    int32_t id;  ///< -1: text between added tokens
  };
  /// The parts of a text in order, none of them empty.
  std::vector<Part> split(std::string_view text) const;

 private:
  const AddedToken* find_at(std::string_view text) const;

  std::unordered_map<char, std::vector<AddedToken>> by_first_byte_;  // the longest first
};

}  // namespace seqmill::text
