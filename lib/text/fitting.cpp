#include "text/fitting.h"

#include <algorithm>

#include "base/error.h"
#include "text/cut_text.h"

namespace seqmill::text {
namespace {

int64_t size_of(const std::vector<int32_t>& tokens) { return static_cast<int64_t>(tokens.size()); }

bool is_system(const Message& message) { return message.role == "system"; }

// The first message that is not the system's; a turn begins there.
size_t first_turn(const std::vector<Message>& messages) {
  return static_cast<size_t>(std::find_if_not(messages.begin(), messages.end(), is_system) - messages.begin());
}

// What is left without the oldest question and its answers; nothing when there is only one.
std::vector<Message> without_first_turn(const std::vector<Message>& messages) {
  const size_t first = first_turn(messages);
  if (first >= messages.size()) return {};
  const auto begin = messages.begin() + static_cast<std::ptrdiff_t>(first);
  const auto next = std::find_if(begin + 1, messages.end(), [](const Message& message) { return message.role == "user"; });
  if (next == messages.end()) return {};
  std::vector<Message> rest(messages.begin(), begin);
  std::copy_if(begin, next, std::back_inserter(rest), is_system);
  rest.insert(rest.end(), next, messages.end());
  return rest;
}

}  // namespace

AnswerFraming::AnswerFraming(const ChatTemplate& chat, const Tokenizer& tokenizer, int64_t window, bool with_end)
    : chat_(chat), tokenizer_(tokenizer), window_(window), with_end_(with_end) {}

std::vector<int32_t> AnswerFraming::answer_on(const std::vector<int32_t>& prompt, std::vector<Message> messages, const std::string& answer) const {
  messages.push_back({"assistant", answer});
  const ChatTokens whole = chat_.conversation(messages);
  if (whole.tokens.size() < prompt.size() || !std::equal(prompt.begin(), prompt.end(), whole.tokens.begin())) {
    fail("the template {} is of no use here: its conversations do not begin with its prompts", chat_.name());
  }
  const auto last = std::find(whole.learned.rbegin(), whole.learned.rend(), true);
  auto end = std::max(static_cast<size_t>(whole.learned.rend() - last), prompt.size());
  const std::vector<int32_t>& ends = chat_.ends();
  if (!with_end_ && end > prompt.size() && std::find(ends.begin(), ends.end(), whole.tokens[end - 1]) != ends.end()) --end;
  return {whole.tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()), whole.tokens.begin() + static_cast<std::ptrdiff_t>(end)};
}

std::vector<Message> AnswerFraming::shortened(std::vector<Message> messages, int64_t room) const {
  const auto size = [&](const std::vector<Message>& some) { return size_of(chat_.prompt(some)); };
  for (int64_t found = size(messages); found > room; found = size(messages)) {
    std::vector<Message> rest = without_first_turn(messages);
    if (!rest.empty() && size(rest) >= room) {
      messages = std::move(rest);
      continue;
    }
    // Without that turn there would be room to spare, which its end takes.
    const size_t first = first_turn(messages);
    if (first >= messages.size()) break;
    const std::string content = messages[first].content;
    const CutText text(tokenizer_, content, CutText::Keep::kLast);
    const auto with = [&](int64_t tokens) {
      messages[first].content = text.at_most(tokens);
      return size(messages);
    };
    const int64_t fitting = largest_fitting(1, text.tokens() - 1, text.tokens() - (found - room), room, with);
    messages[first].content = text.at_most(fitting);
    if (messages[first].content.empty()) {
      if (!rest.empty()) return rest;
      messages[first].content = text.characters(1);
    }
    break;
  }
  return messages;
}

FramedAnswers AnswerFraming::frame(const std::vector<Message>& messages, const std::vector<std::string>& answers) const {
  FramedAnswers framed;
  framed.prompt = chat_.prompt(messages);
  framed.cut_answers.assign(answers.size(), false);
  int64_t longest = 0;
  for (const std::string& answer : answers) {
    framed.answers.push_back(answer_on(framed.prompt, messages, answer));
    if (framed.answers.back().empty()) fail("answer {} has no tokens", framed.answers.size());
    longest = std::max(longest, size_of(framed.answers.back()));
  }
  if (size_of(framed.prompt) + longest <= window_) return framed;

  std::vector<Message> kept = messages;
  const int64_t most = std::max(window_ - longest, window_ / 4);
  if (size_of(framed.prompt) > most) {
    kept = shortened(messages, most);
    const int64_t before = size_of(framed.prompt);
    framed.prompt = chat_.prompt(kept);
    framed.cut_prompt = size_of(framed.prompt) < before;
  }
  const int64_t room = window_ - size_of(framed.prompt);
  if (room < (with_end_ ? 2 : 1)) {
    fail("the template {} and what may not be cut of the prompt take {} tokens, which leaves no room for an answer in a window of {}", chat_.name(),
         framed.prompt.size(), window_);
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    if (size_of(framed.answers[i]) <= room) continue;
    framed.answers[i] = cut_answer(framed.prompt, kept, answers[i], room, size_of(framed.answers[i]));
    framed.cut_answers[i] = true;
  }
  return framed;
}

std::vector<int32_t> AnswerFraming::cut_answer(const std::vector<int32_t>& prompt, const std::vector<Message>& messages, const std::string& answer, int64_t room,
                                               int64_t size) const {
  const CutText text(tokenizer_, answer, CutText::Keep::kFirst);
  std::vector<int32_t> tokens;  // the longest that fit
  const auto with = [&](int64_t most) {
    std::vector<int32_t> found = answer_on(prompt, messages, text.at_most(most));
    const int64_t count = size_of(found);
    if (count <= room && count >= size_of(tokens)) tokens = std::move(found);
    return count;
  };
  largest_fitting(0, text.tokens() - 1, text.tokens() - (size - room), room, with);
  if (tokens.empty()) fail("a window of {} leaves an answer {} tokens, in which not one character of it fits", window_, room);
  return tokens;
}

std::string first_tokens(const Tokenizer& tokenizer, const std::string& text, int64_t most) { return CutText(tokenizer, text, CutText::Keep::kFirst).at_most(most); }
std::string last_tokens(const Tokenizer& tokenizer, const std::string& text, int64_t most) { return CutText(tokenizer, text, CutText::Keep::kLast).at_most(most); }

FramedAnswers frame_texts(const Tokenizer& tokenizer, const std::vector<std::string>& texts, int64_t window) {
  const int64_t room = window - 2;
  if (room < 1) fail("a window of {} tokens has no room for a text", window);
  FramedAnswers framed;
  framed.prompt = {tokenizer.bos() >= 0 ? tokenizer.bos() : tokenizer.eos()};
  for (const std::string& text : texts) {
    std::vector<int32_t> tokens = tokenizer.encode(text);
    const bool cut = static_cast<int64_t>(tokens.size()) > room;
    if (cut) tokens = tokenizer.encode(first_tokens(tokenizer, text, room));
    tokens.push_back(tokenizer.eos());
    framed.answers.push_back(std::move(tokens));
    framed.cut_answers.push_back(cut);
  }
  return framed;
}

}  // namespace seqmill::text
