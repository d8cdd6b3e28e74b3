#include "text/judge.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/strings.h"
#include "io/line_reader.h"
#include "io/yaml.h"
#include "text/cut_text.h"

namespace seqmill::text {
namespace {

constexpr const char* kFormat = "1";
constexpr int64_t kMaxPreambleBytes = 1 << 16;

int64_t size_of(const std::vector<int32_t>& tokens) { return static_cast<int64_t>(tokens.size()); }
int64_t size_of(const PairText& pair) { return size_of(pair.text.tokens); }

std::string standard_preamble(const std::string& first, const std::string& second) {
  return fmt::format(
      "You are an impartial judge. Below are a user's question and the answers of two assistants to it. Decide which of the two answers serves the user better. Weigh "
      "how helpful, relevant, accurate, deep, creative and detailed they are. Neither the order of the answers nor their length nor the assistants' names may "
      "influence you. Reply with \"{}\" if the first assistant's answer is better and with \"{}\" if the second one's is, and with nothing else.",
      first, second);
}

std::string read_preamble(const JudgeOptions& options, const std::array<std::string, 2>& names) {
  if (options.preamble == "kept") {
    if (!options.preamble_text) fail_usage("--judge.preamble kept: the model has no {}, which would say what it was told", kJudgeFile);
    return *options.preamble_text;
  }
  if (options.preamble == "none") return "";
  if (options.preamble == "standard") return standard_preamble(names[0], names[1]);
  const std::string text = io::read_file(options.preamble, kMaxPreambleBytes);
  if (const size_t bad = find_invalid_utf8(text); bad != std::string::npos) {
    fail_usage("{}: byte {} is not valid UTF-8, expected the text of --judge.preamble", options.preamble, bad + 1);
  }
  return std::string(trim(text));
}

std::string answer_block(const std::string& name, const std::string& answer) {
  return fmt::format("[The Start of Assistant {}'s Answer]\n{}\n[The End of Assistant {}'s Answer]", name, answer, name);
}

// One message as it is; of several, each with who says it.
std::string prompt_text(const std::vector<Message>& messages) {
  if (messages.size() == 1) return messages.front().content;
  std::string text;
  for (const Message& message : messages) {
    const char* name = message.role == "system" ? "System" : message.role == "user" ? "User" : "Assistant";
    text += fmt::format("{}{}: {}", text.empty() ? "" : "\n\n", name, message.content);
  }
  return text;
}

// The tokens that the answer `label` begins with, behind the prompt of such a question; the first `opening` of them stand for white space.
struct LabelTokens {
  std::vector<int32_t> tokens;
  size_t opening = 0;
  size_t label = 0;  // how many the label takes
};

LabelTokens tokens_of_label(const ChatTemplate& chat, const std::string& question, const std::string& label) {
  const std::vector<Message> asked = {{"user", question}};
  const std::vector<int32_t> prompt = chat.prompt(asked);
  const std::vector<int32_t> whole = chat.conversation({asked[0], {"assistant", label}}).tokens;
  if (whole.size() <= prompt.size() || !std::equal(prompt.begin(), prompt.end(), whole.begin())) {
    fail_usage("the template {} is of no use to a judge: its conversations do not begin with its prompts", chat.name());
  }
  LabelTokens found{{whole.begin() + static_cast<std::ptrdiff_t>(prompt.size()), whole.end()}, 0, 0};
  const auto text = [&](size_t count) {
    const std::string answer = chat.answer_text(prompt, {found.tokens.begin(), found.tokens.begin() + static_cast<std::ptrdiff_t>(count)});
    return std::string(trim(answer));
  };
  while (found.opening + 1 < found.tokens.size() && text(found.opening + 1).empty()) ++found.opening;
  size_t end = found.opening + 1;
  while (end < found.tokens.size() && text(end) != trim(label)) ++end;
  found.label = end - found.opening;
  return found;
}

// Of its pieces from `begin` to the end of the label.
std::string quoted_pieces(const Tokenizer& tokenizer, const LabelTokens& found, size_t begin) {
  std::string pieces;
  for (size_t i = begin; i < found.opening + found.label; ++i) pieces += fmt::format("{}\"{}\"", i == begin ? "" : " ", tokenizer.piece(found.tokens[i]));
  return pieces;
}

}  // namespace

void JudgeOptions::declare(Options& options) {
  options.add("judge.preamble", preamble, "What a judge is told before the question: standard, none, kept (what the model has been told so far), or the file of a text");
  options.add("judge.labels", labels, "The two labels of which a judge answers one, each a single token, as in A,B").placeholder("LABELS");
}

Judge::Judge(const JudgeOptions& options, const ChatTemplate& chat, const Tokenizer& tokenizer, int64_t window)
    : chat_(chat), tokenizer_(tokenizer), window_(window) {
  for (const std::string& value : options.labels) {
    for (std::string& label : split(value, ',')) label_texts_.push_back(std::move(label));
  }
  if (label_texts_.size() != 2) fail_usage("--judge.labels has {} values, expected two, as in A,B", label_texts_.size());
  for (size_t i = 0; i < 2; ++i) {
    names_[i] = trim(label_texts_[i]);
    if (names_[i].empty()) fail_usage("--judge.labels: a label is empty, expected two that are a token each");
  }
  preamble_ = read_preamble(options, names_);
  find_labels();
  question_frame_ = size_of(question_tokens({}));
  pair_frame_ = size_of(framed_pair({}));
  constexpr int64_t kTexts = 3;
  if (const int64_t frame = std::max(question_frame_ + 1, pair_frame_); frame + kTexts > window_) {
    fail_usage(
        "the frame of a judge's question takes {} tokens, which leaves no room for a prompt and two answers in a window of {}; --judge.preamble none shortens it",
        frame, window_);
  }
}

void Judge::find_labels() {
  std::array<LabelTokens, 2> found;
  for (size_t i = 0; i < 2; ++i) {
    found[i] = tokens_of_label(chat_, question_text({}), label_texts_[i]);
    if (found[i].label != 1) {
      fail_usage("the label \"{}\" is {} tokens behind a question ({}), expected one; --judge.labels names others", label_texts_[i], found[i].label,
                 quoted_pieces(tokenizer_, found[i], found[i].opening));
    }
    labels_[i] = found[i].tokens[found[i].opening];
  }
  const auto opening_of = [](const LabelTokens& label) {
    return std::vector<int32_t>(label.tokens.begin(), label.tokens.begin() + static_cast<std::ptrdiff_t>(label.opening));
  };
  opening_ = opening_of(found[0]);
  if (opening_ != opening_of(found[1])) {
    fail_usage("the tokeniser takes the space before \"{}\" and \"{}\" into one of the two labels only ({} and {}); --judge.labels names others", names_[0], names_[1],
               quoted_pieces(tokenizer_, found[0], 0), quoted_pieces(tokenizer_, found[1], 0));
  }
  if (labels_[0] == labels_[1]) fail_usage("the labels \"{}\" and \"{}\" are the same token \"{}\"", label_texts_[0], label_texts_[1], tokenizer_.piece(labels_[0]));
}

std::string Judge::asked(const std::string& prompt) const { return fmt::format("[User Question]\n{}\n\n", prompt); }

std::string Judge::answers_text(const Texts& texts) const { return answer_block(names_[0], texts.first) + "\n\n" + answer_block(names_[1], texts.second); }

// A label that brings its space along gets none before it.
std::string Judge::question_text(const Texts& texts) const {
  const char* ending = label_texts_[0].front() == ' ' && label_texts_[1].front() == ' ' ? "\n#Preferred:" : "\n#Preferred: ";
  return preamble_ + (preamble_.empty() ? "" : "\n\n") + asked(texts.prompt) + answers_text(texts) + ending;
}

std::vector<int32_t> Judge::question_tokens(const Texts& texts) const {
  std::vector<int32_t> tokens = chat_.prompt({{"user", question_text(texts)}});
  tokens.insert(tokens.end(), opening_.begin(), opening_.end());
  return tokens;
}

/// Up to the last token that is learned.
ChatTokens Judge::on_prompt(const std::string& prompt, const std::string& answers) const {
  ChatTokens chat = chat_.conversation({{"user", asked(prompt)}, {"assistant", answers}});
  const auto last = std::find(chat.learned.rbegin(), chat.learned.rend(), true);
  const auto end = static_cast<size_t>(chat.learned.rend() - last);
  chat.tokens.resize(end);
  chat.learned.resize(end);
  return chat;
}

PairText Judge::framed_pair(const Texts& texts) const {
  PairText pair;
  pair.text = on_prompt(texts.prompt, answers_text(texts));
  // A token that reaches over the seam belongs to the second.
  const ChatTokens first = on_prompt(texts.prompt, answer_block(names_[0], texts.first) + "\n\n");
  pair.second = static_cast<size_t>(std::mismatch(pair.text.tokens.begin(), pair.text.tokens.end(), first.tokens.begin(), first.tokens.end()).first - pair.text.tokens.begin());
  return pair;
}

template <typename Frame>
auto Judge::fit(const Texts& whole, int64_t frame_size, int64_t room, bool& is_cut, Frame frame) const -> decltype(frame(whole)) {
  const CutText prompt(tokenizer_, whole.prompt, CutText::Keep::kLast), first(tokenizer_, whole.first, CutText::Keep::kFirst),
      second(tokenizer_, whole.second, CutText::Keep::kFirst);
  Texts texts = whole;
  decltype(frame(whole)) best;
  const auto framed_size = [&] {
    auto framed = frame(texts);
    const int64_t size = size_of(framed);
    if (size <= room && size >= size_of(best)) best = std::move(framed);
    return size;
  };
  const auto with_prompt = [&](int64_t tokens) {
    texts.prompt = prompt.at_most(tokens);
    return framed_size();
  };
  const auto with_answers = [&](int64_t tokens) {
    texts.first = first.at_most(tokens);
    texts.second = second.at_most(tokens);
    return framed_size();
  };

  // What the parts have apart is nearly what they have together, so that texts that are far too long need not be framed to see it.
  constexpr int64_t kSeams = 16;
  const int64_t answers = first.tokens() + second.tokens(), least = std::min(prompt.tokens(), window_ / 4);
  is_cut = frame_size + prompt.tokens() + answers > room + kSeams || framed_size() > room;
  if (!is_cut) return best;
  if (frame_size + least + answers <= room + kSeams && largest_fitting(least, prompt.tokens() - 1, room - frame_size - answers, room, with_prompt) >= least) return best;

  const int64_t shorter = std::min(first.tokens(), second.tokens()), longest = std::max(first.tokens(), second.tokens());
  for (int64_t kept = least;; kept /= 2) {
    texts.prompt = prompt.at_most(kept);
    const int64_t share = room - frame_size - kept;
    if (largest_fitting(1, longest, 2 * shorter <= share ? share - shorter : share / 2, room, with_answers) >= 1) return best;
    // A large frame leaves less than that quarter.
    if (kept == 0) fail("the frame of a judge's question takes {} tokens, in a window of {} not one of prompt and answers fits in besides", frame_size, window_);
  }
}

JudgeQuestion Judge::question(const std::vector<Message>& messages, const std::string& first, const std::string& second) const {
  JudgeQuestion question;
  question.tokens = fit({prompt_text(messages), first, second}, question_frame_, window_ - 1, question.cut, [&](const Texts& texts) { return question_tokens(texts); });
  return question;
}

PairText Judge::pair_text(const std::vector<Message>& messages, const std::string& first, const std::string& second) const {
  bool is_cut = false;
  PairText pair = fit({prompt_text(messages), first, second}, pair_frame_, window_, is_cut, [&](const Texts& texts) { return framed_pair(texts); });
  pair.cut = is_cut;
  return pair;
}

std::string Judge::to_yaml() const {
  return io::emit_yaml({{"format", {kFormat}, false, "", 0}, {"labels", label_texts_, true, "", 0}, {"preamble", {preamble_}, false, "", 0}});
}

JudgeOptions load_judge_options(const std::string& directory) {
  JudgeOptions options;
  const std::string path = directory + "/" + kJudgeFile;
  if (!std::filesystem::exists(path)) return options;
  bool has_format = false, has_labels = false;
  for (const io::ConfigEntry& entry : io::read_yaml(path)) {
    const auto place = fmt::format("{}:{}", path, entry.line);
    const bool is_list = entry.key == "labels";
    if (entry.is_list != is_list) fail("{}: '{}' is {}, expected {}", place, entry.key, entry.is_list ? "a list" : "one value", is_list ? "a list" : "one value");
    if (entry.key == "format") {
      has_format = true;
      if (entry.values[0] != kFormat) fail("{}: found the format {}, expected {}; the model is of another version", place, excerpt(entry.values[0], 20), kFormat);
    } else if (entry.key == "labels") {
      has_labels = true;
      options.labels = entry.values;
    } else if (entry.key == "preamble") {
      options.preamble = "kept";
      options.preamble_text = entry.values[0];
    } else {
      fail("{}: '{}' is no part of a judge; expected format, labels and preamble", place, entry.key);
    }
  }
  if (!has_format || !has_labels || !options.preamble_text) fail("{}: expected format, labels and preamble, one of them is missing", path);
  return options;
}

}  // namespace seqmill::text
