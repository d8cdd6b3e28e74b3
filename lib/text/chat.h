#pragma once
// Conversations as token sequences: messages of roles in the frame of a template.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace seqmill::text {

struct Message {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;

  friend bool operator==(const Message& a, const Message& b) { return a.role == b.role && a.content == b.content; }
};

/// A string (one message of the user) or a list of {role, content}. Throws Error that says what is wrong, for the caller to put file, line or id before.
std::vector<Message> read_messages(const io::Json& prompt);

/// Tokens, and which of them a model is to learn: those of the answers and of what ends an answer.
struct ChatTokens {
  std::vector<int32_t> tokens;
  std::vector<bool> learned;
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  virtual const std::string& name() const = 0;
  /// The conversation up to where the next answer begins, for a model that is to write it.
  virtual std::vector<int32_t> prompt(const std::vector<Message>& messages) const = 0;
  /// A whole conversation, answers and what ends them marked.
  virtual ChatTokens conversation(const std::vector<Message>& messages) const = 0;
  /// The text of an answer that a model wrote behind prompt(), given both; what the template itself puts around answers is dropped.
  virtual std::string answer_text(const std::vector<int32_t>& prompt, const std::vector<int32_t>& answer) const = 0;
  /// Tokens any of which ends an answer, at least one.
  virtual const std::vector<int32_t>& ends() const = 0;
};

/// `name`: plain (text as it is, an answer straight behind the prompt), alpaca (headings in plain text), chatml, llama-2, llama-3, or the path of a file (docs/formats.md#templates). Throws a
/// usage error for an unknown name, for a special token that the tokeniser has not, and for a template without a place for the answer. The tokeniser must outlive it.
std::unique_ptr<ChatTemplate> make_chat_template(const std::string& name, const Tokenizer& tokenizer);

/// plain, alpaca, chatml, llama-2, llama-3
std::vector<std::string> chat_template_names();

}  // namespace seqmill::text
