#include "text/fitting.h"

#include <catch2/catch.hpp>

#include "base/rng.h"
#include "base/strings.h"
#include "support/byte_tokenizer.h"
#include "support/files.h"
#include "support/letter_template.h"
#include "support/tokenizer_files.h"
#include "text/unicode.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

using Messages = std::vector<Message>;

std::string random_text(Rng& rng, uint64_t most) {
  static const std::vector<std::string> parts = {"the ", "answer", "\n", "  ", "is ", "漢", "é", "😀", "(better) ", "User", "7", "'s "};
  std::string text;
  for (uint64_t n = 1 + rng.below(most); n > 0; --n) text += parts[rng.below(parts.size())];
  return text;
}

// Where the character before `at` begins.
size_t previous(const std::string& text, size_t at) {
  do --at;
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

std::string text_of(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += id == 0 ? '^' : id == 1 ? '$' : static_cast<char>(id - 2);
  return text;
}

// What the letter template makes of it in a window: the prompt, then the answers.
struct Shown {
  std::string text;
  FramedAnswers framed;
};

Shown show(const Messages& messages, const std::vector<std::string>& answers, int64_t window, bool with_end = true) {
  const LetterTemplate chat;
  const ByteTokenizer tokenizer;
  Shown shown;
  shown.framed = AnswerFraming(chat, tokenizer, window, with_end).frame(messages, answers);
  shown.text = text_of(shown.framed.prompt);
  for (const auto& answer : shown.framed.answers) shown.text += " " + text_of(answer);
  return shown;
}

}  // namespace

TEST_CASE("what fits is framed as it is") {
  const Shown shown = show({{"system", "S"}, {"user", "ab"}}, {"x", "yz"}, 12);
  CHECK(shown.text == "^{S}[ab]< x> yz>");
  CHECK_FALSE(shown.framed.cut_prompt);
  CHECK(shown.framed.cut_answers == std::vector<bool>{false, false});
  CHECK(show({{"user", "ab"}}, {"x", ""}, 100).text == "^[ab]< x> >");
  CHECK(show({{"user", "ab"}}, {"x", "yz"}, 100, false).text == "^[ab]< x yz");
}

TEST_CASE("the prompt loses its oldest turns, then the beginning of the first one left, then answers their ends") {
  const Messages turns = {{"system", "S"}, {"user", "abcd"}, {"assistant", "ef"}, {"user", "ghijkl"}, {"assistant", "mn"}, {"user", "opqrst"}};
  // 1 + 3 + 6 + 4 + 8 + 4 + 8 + 1 = 35 tokens of prompt.
  CHECK(show(turns, {"x"}, 37).text == "^{S}[abcd]<ef>[ghijkl]<mn>[opqrst]< x>");
  CHECK(show(turns, {"x"}, 35).text == "^{S}[cd]<ef>[ghijkl]<mn>[opqrst]< x>");
  CHECK(show(turns, {"x"}, 34).text == "^{S}[d]<ef>[ghijkl]<mn>[opqrst]< x>");
  CHECK(show(turns, {"x"}, 33).text == "^{S}[ghijkl]<mn>[opqrst]< x>");
  CHECK(show(turns, {"x"}, 27).text == "^{S}[ghijkl]<mn>[opqrst]< x>");
  CHECK(show(turns, {"x"}, 25).text == "^{S}[ijkl]<mn>[opqrst]< x>");
  CHECK(show(turns, {"x"}, 14).text == "^{S}[pqrst]< x>");
  const Shown shown = show(turns, {"x", "yz"}, 12);
  CHECK(shown.text == "^{S}[st]< x> yz>");
  CHECK(shown.framed.cut_prompt);
  CHECK(shown.framed.cut_answers == std::vector<bool>{false, false});
  // The question alone stays with at least a character, the system's message whole.
  const Shown narrow = show(turns, {"xyzxyz", "y"}, 12);
  CHECK(narrow.text == "^{S}[t]< xyz> y>");
  CHECK(narrow.framed.cut_answers == std::vector<bool>{true, false});
}

TEST_CASE("a quarter of the window is the prompt's, whatever the answers need") {
  const std::string letters(40, 'a'), answer(100, 'x');
  const Shown shown = show({{"user", letters}}, {answer, "y"}, 40);
  CHECK(shown.framed.prompt.size() == 10);
  CHECK(shown.text == "^[aaaaaa]< " + std::string(29, 'x') + "> y>");
  CHECK(shown.framed.cut_answers == std::vector<bool>{true, false});
  // A prompt of less is whole.
  CHECK(show({{"user", "aaaaaa"}}, {answer}, 40).framed.cut_prompt == false);
  CHECK(show({{"user", "aaaaaa"}}, {answer}, 40, false).text == "^[aaaaaa]< " + std::string(30, 'x'));
}

TEST_CASE("windows without room are errors") {
  const auto failure = [](const Messages& messages, const std::string& answer, int64_t window, bool with_end = true) {
    return failure_of([&] { show(messages, {answer}, window, with_end); });
  };
  CHECK(failure({{"user", "abc"}}, "xyz", 7).exit_code == 0);
  CHECK(failure({{"user", "abc"}}, "xyz", 6).says("the template letters and what may not be cut of the prompt take 5 tokens, which leaves no room for an answer in a window of 6"));
  CHECK(failure({{"user", "abc"}}, "xyz", 6, false).exit_code == 0);
  CHECK(failure({{"system", "long message"}, {"user", "abc"}}, "xyz", 12).says("no room"));
  CHECK(failure({{"user", "abc"}}, "", 20, false).says("answer 1 has no tokens"));
  CHECK(failure({{"user", "abc"}}, "漢漢", 7, false).says("not one character of it fits"));

  class Odd : public LetterTemplate {
    std::vector<int32_t> prompt(const Messages&) const override { return byte_ids("?"); }
  };
  const Odd odd;
  const ByteTokenizer tokenizer;
  CHECK(failure_of([&] { AnswerFraming(odd, tokenizer, 50, true).frame({{"user", "a"}}, {"x"}); }).says("its conversations do not begin with its prompts"));
}

TEST_CASE("parts of a text in tokens are whole characters and as long as can be") {
  TempDir dir, spm;
  for (const std::string& path : {put_byte_level(dir.path()), put_sentencepiece(spm.path())}) {
    const auto tokenizer = load_tokenizer(path);
    Rng rng(3, "parts");
    for (int i = 0; i < 60; ++i) {
      const std::string text = random_text(rng, 40);
      const auto all = static_cast<int64_t>(tokenizer->encode(text).size());
      for (int64_t most = 0; most <= all + 1; most += 1 + static_cast<int64_t>(rng.below(3))) {
        const std::string first = first_tokens(*tokenizer, text, most), last = last_tokens(*tokenizer, text, most);
        REQUIRE(starts_with(text, first));
        REQUIRE(ends_with(text, last));
        for (const std::string& part : {first, last}) {
          const auto count = static_cast<int64_t>(tokenizer->encode(part).size());
          REQUIRE(find_invalid_utf8(part) == std::string::npos);
          REQUIRE(count <= most);
          if (most >= all) REQUIRE(part == text);
          if (count == most || part == text) continue;
          size_t end = first.size();
          next_code_point(text, end);
          const std::string longer = part == first ? text.substr(0, end) : text.substr(previous(text, text.size() - last.size()));
          REQUIRE(static_cast<int64_t>(tokenizer->encode(longer).size()) > most);
        }
      }
    }
  }
}

TEST_CASE("framed answers keep to the window under templates and tokenisers of every kind") {
  TempDir dir, bpe, unigram;
  for (const std::string& path : {put_byte_level(dir.path()), put_sentencepiece(bpe.path()), put_sentencepiece(unigram.path(), "unigram")}) {
    const auto tokenizer = load_tokenizer(path);
    for (const char* name : {"plain", "chatml", "alpaca", "llama-2"}) {
      const auto chat = make_chat_template(name, *tokenizer);
      const bool trims = std::string(name) == "llama-2";  // white space at the ends of contents
      const auto frame_size = static_cast<int64_t>(chat->prompt({{"system", "S"}, {"user", "Q"}}).size());
      Rng rng(5, std::string(name));
      for (int i = 0; i < 40; ++i) {
        const bool with_end = rng.below(2) == 0;
        const int64_t window = frame_size + 16 + static_cast<int64_t>(rng.below(150));
        CAPTURE(path, name, i, window, with_end);
        Messages messages;
        if (rng.below(2) == 0) messages.push_back({"system", "S"});
        const uint64_t turns = rng.below(3);
        for (uint64_t turn = 0; turn < turns; ++turn) {
          messages.push_back({"user", random_text(rng, 30)});
          messages.push_back({"assistant", random_text(rng, 30)});
        }
        messages.push_back({"user", "Q" + random_text(rng, 60)});
        const std::vector<std::string> answers = {"a" + random_text(rng, 80), "b" + random_text(rng, 10), "c" + random_text(rng, 200)};
        const FramedAnswers framed = AnswerFraming(*chat, *tokenizer, window, with_end).frame(messages, answers);
        REQUIRE(framed.answers.size() == 3);
        int64_t longest = 0;
        for (const auto& answer : framed.answers) longest = std::max(longest, static_cast<int64_t>(answer.size()));
        const auto prompt = static_cast<int64_t>(framed.prompt.size());
        REQUIRE(prompt + longest <= window);
        const std::vector<int32_t> whole_prompt = chat->prompt(messages);
        if (!framed.cut_prompt) REQUIRE(framed.prompt == whole_prompt);
        if (framed.cut_prompt) REQUIRE(prompt < static_cast<int64_t>(whole_prompt.size()));
        for (size_t k = 0; k < 3; ++k) {
          const std::vector<int32_t>& answer = framed.answers[k];
          REQUIRE_FALSE(answer.empty());
          const auto& ends = chat->ends();
          REQUIRE((std::find(ends.begin(), ends.end(), answer.back()) != ends.end()) == with_end);
          REQUIRE(std::count_if(answer.begin(), answer.end(), [&](int32_t id) { return tokenizer->is_special(id); }) == (with_end ? 1 : 0));
          const std::string text = chat->answer_text(framed.prompt, answer);
          REQUIRE(find_invalid_utf8(text) == std::string::npos);
          const std::string original = trims ? std::string(trim(answers[k])) : answers[k];
          if (!framed.cut_answers[k]) REQUIRE(text == original);
          if (framed.cut_answers[k]) REQUIRE(starts_with(original, text));
          // What was cut fills the window, up to a character of at most four bytes.
          if (framed.cut_answers[k] && !trims) REQUIRE(prompt + static_cast<int64_t>(answer.size()) >= window - 4);
        }
        // A prompt is cut for the longest answer only, and not below a quarter of the window.
        const bool whole_answers = !framed.cut_answers[0] && !framed.cut_answers[1] && !framed.cut_answers[2];
        if (framed.cut_prompt && whole_answers && turns == 0 && !trims) REQUIRE(prompt + longest >= window - 4);
        if (framed.cut_prompt && turns == 0 && !trims) REQUIRE(prompt >= window / 4 - 4);
        // The frame: special tokens of what is left.
        const auto special = [&](const std::vector<int32_t>& ids) { return std::count_if(ids.begin(), ids.end(), [&](int32_t id) { return tokenizer->is_special(id); }); };
        REQUIRE(special(framed.prompt) >= special(chat->prompt({messages.back()})));
      }
    }
  }
}

TEST_CASE("texts by themselves have their symbols around them, and lose their ends") {
  ByteTokenizer tokenizer;
  const FramedAnswers framed = frame_texts(tokenizer, {"abc", "", "abcd", "ab\u00e9"}, 5);
  CHECK(text_of(framed.prompt) == "^");
  REQUIRE(framed.answers.size() == 4);
  CHECK(text_of(framed.answers[0]) == "abc$");
  CHECK(text_of(framed.answers[1]) == "$");
  CHECK(text_of(framed.answers[2]) == "abc$");
  CHECK(text_of(framed.answers[3]) == "ab$");  // a character of two bytes is not torn
  CHECK(framed.cut_answers == std::vector<bool>{false, false, true, true});
  tokenizer.has_bos = false;
  CHECK(text_of(frame_texts(tokenizer, {"a"}, 3).prompt) == "$");
  CHECK(failure_of([&] { frame_texts(tokenizer, {"a"}, 2); }).says("a window of 2 tokens has no room for a text"));
}
