#pragma once

#include <string>
#include <vector>

#include "support/byte_tokenizer.h"
#include "text/chat.h"

namespace seqmill::test {

/// Bytes as tokens; "^", then each message in brackets of its role: "[question]", "<answer>" of which "answer>" is learned, "{system}".
class LetterTemplate : public text::ChatTemplate {
 public:
  const std::string& name() const override { return name_; }

  std::vector<int32_t> prompt(const std::vector<text::Message>& messages) const override {
    std::vector<int32_t> ids = conversation(messages).tokens;
    ids.push_back(byte_ids("<")[0]);
    return ids;
  }

  text::ChatTokens conversation(const std::vector<text::Message>& messages) const override {
    text::ChatTokens chat;
    put(chat, begin, false);
    for (const text::Message& message : messages) {
      if (message.role == "critic") fail("no place for a critic");
      const bool answer = message.role == "assistant";
      put(chat, answer ? "<" : message.role == "user" ? "[" : "{", false);
      put(chat, message.content, answer);
      put(chat, answer ? ">" : message.role == "user" ? "]" : "}", answer);
    }
    return chat;
  }

  std::string answer_text(const std::vector<int32_t>&, const std::vector<int32_t>& answer) const override { return ByteTokenizer().decode(answer); }
  const std::vector<int32_t>& ends() const override { return ends_; }

  std::string begin = "^";

 private:
  static void put(text::ChatTokens& chat, const std::string& text, bool learned) {
    for (const int32_t id : byte_ids(text)) {
      chat.tokens.push_back(id);
      chat.learned.push_back(learned);
    }
  }

  std::string name_ = "letters";
  std::vector<int32_t> ends_ = byte_ids(">");
};

/// As text, with learned letters of the alphabet in capitals and a learned '>' as '!'.
inline std::string shown(const text::ChatTokens& chat) {
  std::string text;
  for (size_t i = 0; i < chat.tokens.size(); ++i) {
    const int32_t id = chat.tokens[i];
    const char c = id == 0 ? '^' : id == 1 ? '$' : static_cast<char>(id - 2);
    text += !chat.learned[i] ? c : c == '>' ? '!' : static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

}  // namespace seqmill::test
