#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace seqmill::test {

/// Bytes as tokens: 0 begins a text, 1 ends it, byte b is 2 + b.
class ByteTokenizer : public text::Tokenizer {
 public:
  int32_t size() const override { return 258; }
  int32_t bos() const override { return has_bos ? 0 : -1; }
  int32_t eos() const override { return 1; }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(2 + static_cast<unsigned char>(c));
    return ids;
  }

  std::string decode(const std::vector<int32_t>& ids, bool = false) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 2) text += static_cast<char>(id - 2);
    }
    return text;
  }

  std::string piece(int32_t id) const override { return id == 0 ? "<s>" : id == 1 ? "</s>" : std::string(1, static_cast<char>(id - 2)); }
  int32_t special(std::string_view text) const override { return text == "<s>" ? 0 : text == "</s>" ? 1 : -1; }
  bool is_special(int32_t id) const override { return id < 2; }
  const std::string& path() const override { return path_; }

  bool has_bos = true;

 private:
  std::string path_;
};

/// What the byte tokeniser makes of it, with '^' and '$' for the symbols of begin and end.
inline std::vector<int32_t> byte_ids(std::string_view text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(c == '^' ? 0 : c == '$' ? 1 : 2 + static_cast<unsigned char>(c));
  return ids;
}

}  // namespace seqmill::test
