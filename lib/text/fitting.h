#pragma once
// Answers and their prompt within a model's window, framed by a template of which nothing is ever cut.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "text/chat.h"
#include "text/tokenizer.h"

namespace seqmill::text {

/// The window of reward models and judges for which none is named.
inline int64_t usual_window(int64_t positions) { return std::min<int64_t>(positions, 512); }

/// A prompt, and each answer as it goes on that prompt.
struct FramedAnswers {
  std::vector<int32_t> prompt;                ///< at least one token
  std::vector<std::vector<int32_t>> answers;  ///< with what ends an answer, if asked for; each at least one token
  bool cut_prompt = false;                    ///< turns, or the beginning of a turn, were left out
  std::vector<bool> cut_answers;              ///< of each: its end was left out
};

/// The template and the tokeniser must outlive it. Thread-safe.
class AnswerFraming {
 public:
  /// `window`: the most tokens of a prompt with any one of its answers. `with_end`: what ends an answer belongs to it, even where the answer was cut.
  AnswerFraming(const ChatTemplate& chat, const Tokenizer& tokenizer, int64_t window, bool with_end);

  /// What is too long is cut: first the prompt loses its oldest turns (system messages stay), then the beginning of what is then its first turn, down to a quarter of the
  /// window; then answers lose their ends. What the template puts around them stays whole. Throws Error when the template and system messages leave no room for a
  /// character of prompt and answer, for an answer without tokens, and for a template whose conversations do not begin with its prompts.
  FramedAnswers frame(const std::vector<Message>& messages, const std::vector<std::string>& answers) const;

 private:
  /// What goes on the prompt, of which `prompt` are the tokens, with this answer.
  std::vector<int32_t> answer_on(const std::vector<int32_t>& prompt, std::vector<Message> messages, const std::string& answer) const;
  /// Messages whose prompt has at most `room` tokens, or as few as it can have.
  std::vector<Message> shortened(std::vector<Message> messages, int64_t room) const;
  std::vector<int32_t> cut_answer(const std::vector<int32_t>& prompt, const std::vector<Message>& messages, const std::string& answer, int64_t room, int64_t size) const;

  const ChatTemplate& chat_;
  const Tokenizer& tokenizer_;
  int64_t window_;
  bool with_end_;
};

/// Texts each by itself, as learned metrics read them: on the symbol that begins a text (or, where there is none, that ends one), which is the prompt, each with what ends it. One that
/// has more tokens than `window` with both loses its end.
FramedAnswers frame_texts(const Tokenizer& tokenizer, const std::vector<std::string>& texts, int64_t window);

/// A beginning, or end, of a text that has so many tokens, in whole characters; where there is none, or the text has fewer, the longest that has fewer.
std::string first_tokens(const Tokenizer& tokenizer, const std::string& text, int64_t most);
std::string last_tokens(const Tokenizer& tokenizer, const std::string& text, int64_t most);

}  // namespace seqmill::text
