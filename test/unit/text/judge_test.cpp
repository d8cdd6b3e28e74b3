#include "text/judge.h"

#include <catch2/catch.hpp>

#include "base/rng.h"
#include "base/strings.h"
#include "support/byte_tokenizer.h"
#include "support/files.h"
#include "support/tokenizer_files.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

using Messages = std::vector<Message>;

const Messages kPrompt = {{"user", "Why?"}};
const std::string kFrame = "[User Question]\nWhy?\n\n[The Start of Assistant A's Answer]\nyes {x}\n[The End of Assistant A's Answer]\n\n"
                           "[The Start of Assistant B's Answer]\nno\\n\n[The End of Assistant B's Answer]";

JudgeOptions bare(std::vector<std::string> labels = {"A", "B"}) {
  JudgeOptions options;
  options.preamble = "none";
  options.labels = std::move(labels);
  return options;
}

// A tokeniser and its templates.
struct Fixture {
  TempDir dir;
  std::shared_ptr<const Tokenizer> tokenizer;

  explicit Fixture(const std::string& kind = "byte-level")
      : tokenizer(load_tokenizer(kind == "byte-level" ? put_byte_level(dir.path()) : put_sentencepiece(dir.path(), kind))) {}
  std::unique_ptr<ChatTemplate> chat(const std::string& name) const { return make_chat_template(name, *tokenizer); }
  std::string text(const std::vector<int32_t>& tokens) const { return tokenizer->decode(tokens, true); }
};

Failure failure(const JudgeOptions& options, const Fixture& f, const std::string& chat = "plain", int64_t window = 1000) {
  const auto made = f.chat(chat);
  return failure_of([&] { Judge(options, *made, *f.tokenizer, window); });
}

}  // namespace

TEST_CASE("a judge's question") {
  for (const char* kind : {"byte-level", "bpe", "unigram"}) {
    const Fixture f(kind);
    const auto plain = f.chat("plain");
    const Judge judge(bare(), *plain, *f.tokenizer, 1000);
    const JudgeQuestion question = judge.question(kPrompt, "yes {x}", "no\\n");
    CHECK(f.text(question.tokens) == kFrame + "\n#Preferred: ");
    CHECK_FALSE(question.cut);
    // With the answers the other way round everything but them stays.
    const std::string swapped = f.text(judge.question(kPrompt, "no\\n", "yes {x}").tokens);
    CHECK(swapped.find("Assistant A's Answer]\nno\\n\n[") != std::string::npos);
    CHECK(swapped.size() == kFrame.size() + std::string("\n#Preferred: ").size());
    CHECK(f.text(judge.question({{"system", "S"}, {"user", "a"}, {"assistant", "b"}, {"user", "c"}}, "x", "y").tokens).find("[User Question]\nSystem: S\n\nUser: a\n\nAssistant: b\n\nUser: c\n\n[The Start") == 0);
    const Judge standard({}, *plain, *f.tokenizer, 2000);
    const std::string told = f.text(standard.question(kPrompt, "yes {x}", "no\\n").tokens);
    CHECK(told.find("impartial judge") != std::string::npos);
    CHECK(told.find("\"A\" if the first") != std::string::npos);
    CHECK(ends_with(told, ".\n\n" + kFrame + "\n#Preferred: "));
  }
}

TEST_CASE("labels are the token that a template's answer begins with") {
  for (const char* kind : {"byte-level", "bpe", "unigram"}) {
    const Fixture f(kind);
    for (const char* name : {"plain", "alpaca", "chatml", "llama-2"}) {
      CAPTURE(kind, name);
      const auto chat = f.chat(name);
      if (kind == std::string("unigram") && name == std::string("llama-2")) {
        // That template puts a space before an answer, and this vocabulary has "▁A" but no "▁B".
        CHECK(failure(bare(), f, name).says("the space before \"A\" and \"B\" into one of the two labels only (\"▁A\" and \"▁\" \"B\")"));
        continue;
      }
      const Judge judge(bare(), *chat, *f.tokenizer, 1000);
      for (size_t i = 0; i < 2; ++i) {
        const JudgeQuestion question = judge.question(kPrompt, "yes", "no");
        std::vector<int32_t> expected = question.tokens;
        expected.push_back(judge.labels()[i]);
        // It is how a conversation goes in which the judge answers that label.
        const std::string asked = "[User Question]\nWhy?\n\n[The Start of Assistant A's Answer]\nyes\n[The End of Assistant A's Answer]\n\n[The Start of Assistant B's Answer]\nno\n"
                                  "[The End of Assistant B's Answer]\n#Preferred: ";
        const std::vector<int32_t> whole = chat->conversation({{"user", asked}, {"assistant", i == 0 ? "A" : "B"}}).tokens;
        REQUIRE(whole.size() > expected.size());
        CHECK(std::equal(expected.begin(), expected.end(), whole.begin()));
        CHECK(trim(f.tokenizer->decode({judge.labels()[i]}, true)) == (i == 0 ? "A" : "B"));
      }
    }
  }
}

TEST_CASE("labels of one's own stand where A and B do") {
  const Fixture f;
  const auto plain = f.chat("plain");
  JudgeOptions options;
  options.labels = {"1,2"};
  const Judge judge(options, *plain, *f.tokenizer, 2000);
  const std::string text = f.text(judge.question(kPrompt, "yes", "no").tokens);
  CHECK(text.find("[The Start of Assistant 1's Answer]\nyes\n[The End of Assistant 1's Answer]\n\n[The Start of Assistant 2's Answer]\nno\n") != std::string::npos);
  CHECK(text.find("with \"1\" if the first assistant's answer is better and with \"2\"") != std::string::npos);
  CHECK(f.text({judge.labels()[1]}) == "2");
  // Labels that bring a space along follow the colon.
  const Fixture spaced("bpe");
  const auto of_bpe = spaced.chat("plain");
  const Judge with_space(bare({" A", " B"}), *of_bpe, *spaced.tokenizer, 1000);
  const JudgeQuestion question = with_space.question(kPrompt, "yes {x}", "no\\n");
  CHECK(spaced.text(question.tokens) == kFrame + "\n#Preferred:");
  CHECK(spaced.text({with_space.labels()[0]}) == " A");
  CHECK(with_space.labels()[0] != Judge(bare(), *of_bpe, *spaced.tokenizer, 1000).labels()[0]);
}

TEST_CASE("labels that are no single token each are refused") {
  const Fixture f;
  CHECK(failure(bare({"Aa", "B"}), f).exit_code == kExitUsage);
  CHECK(failure(bare({"Aa", "B"}), f).says("the label \"Aa\" is 2 tokens behind a question (\"A\" \"a\"), expected one; --judge.labels names others"));
  CHECK(failure(bare({"A", "Bbb"}), f, "chatml").says("the label \"Bbb\" is 3 tokens"));
  CHECK(failure(bare({"A", "A"}), f).says("the labels \"A\" and \"A\" are the same token \"A\""));
  CHECK(failure(bare({"A"}), f).says("--judge.labels has 1 values, expected two"));
  CHECK(failure(bare({"A", "B", "C"}), f).exit_code == kExitUsage);
  CHECK(failure(bare({"A", ""}), f).says("a label is empty"));
  CHECK(failure(bare({"the", "in"}), f).exit_code == 0);
  const Fixture spm("bpe");
  CHECK(failure(bare({"first one", "B"}), spm).says("the label \"first one\" is "));
}

TEST_CASE("stage 1 learns both answers and nothing of the prompt") {
  for (const char* kind : {"byte-level", "bpe"}) {
    const Fixture f(kind);
    for (const char* name : {"plain", "chatml"}) {
      const auto chat = f.chat(name);
      const PairText framed = Judge({}, *chat, *f.tokenizer, 2000).pair_text(kPrompt, "yes {x}", "no\\n");
      CHECK_FALSE(framed.cut);
      const ChatTokens& pair = framed.text;
      std::vector<int32_t> prompt, learned;
      for (size_t i = 0; i < pair.tokens.size(); ++i) (pair.learned[i] ? learned : prompt).push_back(pair.tokens[i]);
      CHECK(prompt == chat->prompt({{"user", "[User Question]\nWhy?\n\n"}}));
      CHECK(f.text(learned) == kFrame.substr(kFrame.find("[The Start")));
      const auto& ends = chat->ends();
      CHECK(std::find(ends.begin(), ends.end(), learned.back()) != ends.end());
      CHECK(pair.learned.back());
    }
  }
}

TEST_CASE("what is too long for a judge is cut within the frame") {
  const ByteTokenizer tokenizer;
  const auto plain = make_chat_template("plain", tokenizer);
  const std::string prompt(200, 'p'), first(50, 'x'), second(30, 'y');
  const auto frame = static_cast<int64_t>(Judge(bare(), *plain, tokenizer, 1000).question({{"user", ""}}, "", "").tokens.size());
  // `room`: for texts.
  const auto ask = [&](int64_t room) {
    const JudgeQuestion question = Judge(bare(), *plain, tokenizer, frame + 1 + room).question({{"user", prompt}}, first, second);
    const std::string text = tokenizer.decode(question.tokens);
    const auto count = [&](char letter) { return static_cast<int64_t>(std::count(text.begin(), text.end(), letter)); };
    const size_t end = text.find("\n\n[The Start");
    const int64_t p = static_cast<int64_t>(end - std::string("[User Question]\n").size());
    CHECK(static_cast<int64_t>(question.tokens.size()) == frame + p + count('x') + count('y'));
    return fmt::format("{} {} {}{}", p, count('x'), count('y'), question.cut ? " cut" : "");
  };
  CHECK(ask(280) == "200 50 30");
  CHECK(ask(279) == "199 50 30 cut");
  CHECK(ask(200) == "120 50 30 cut");
  // Down to a quarter of the window, then the longer answer, then both.
  for (const int64_t room : {160, 140, 120, 90}) {
    const int64_t quarter = (frame + 1 + room) / 4, answers = room - quarter;
    REQUIRE(answers < 80);
    CHECK(ask(room) == fmt::format("{} {} {} cut", quarter, answers >= 60 ? answers - 30 : answers / 2, answers >= 60 ? 30 : answers / 2));
  }
}

TEST_CASE("questions keep to the window under templates and tokenisers of every kind, and their frame is whole") {
  static const std::vector<std::string> parts = {"the ", "answer", "\n", "is ", "漢", "é", "😀", "(better) ", "User", "7", "'s "};
  for (const char* kind : {"byte-level", "bpe", "unigram"}) {
    const Fixture f(kind);
    for (const char* name : {"plain", "chatml", "alpaca"}) {
      const auto chat = f.chat(name);
      const auto frame = static_cast<int64_t>(Judge(bare(), *chat, *f.tokenizer, 2000).question({{"user", ""}}, "", "").tokens.size());
      Rng rng(9, std::string(name) + kind);
      const auto random_text = [&](uint64_t most) {
        std::string text = "_";
        for (uint64_t n = rng.below(most); n > 0; --n) text += parts[rng.below(parts.size())];
        return text;
      };
      for (int i = 0; i < 40; ++i) {
        const int64_t window = frame + 4 + static_cast<int64_t>(rng.below(120));
        CAPTURE(kind, name, i, window, frame);
        const Judge judge(bare(), *chat, *f.tokenizer, window);
        const std::string prompt = random_text(60), first = random_text(60), second = random_text(i % 2 == 0 ? 10 : 90);
        const JudgeQuestion question = judge.question({{"user", prompt}}, first, second);
        const auto size = static_cast<int64_t>(question.tokens.size());
        REQUIRE(size + 1 <= window);
        const auto whole = static_cast<int64_t>(Judge(bare(), *chat, *f.tokenizer, 10'000).question({{"user", prompt}}, first, second).tokens.size());
        REQUIRE(question.cut == (whole + 1 > window));
        if (question.cut) REQUIRE(size + 1 >= window - 16);  // characters have up to four tokens, and both answers are cut to one length
        const std::string text = f.text(question.tokens);
        REQUIRE(find_invalid_utf8(text) == std::string::npos);
        size_t at = 0;
        std::vector<std::string> kept;
        for (const std::string mark : {"[User Question]\n", "\n\n[The Start of Assistant A's Answer]\n", "\n[The End of Assistant A's Answer]\n\n[The Start of Assistant B's Answer]\n",
                                       "\n[The End of Assistant B's Answer]\n#Preferred: "}) {
          const size_t found = text.find(mark, at);
          REQUIRE(found != std::string::npos);
          if (at > 0) kept.push_back(text.substr(at, found - at));
          at = found + mark.size();
        }
        REQUIRE(ends_with(prompt, kept[0]));
        REQUIRE(starts_with(first, kept[1]));
        REQUIRE(starts_with(second, kept[2]));
        const PairText framed = judge.pair_text({{"user", prompt}}, first, second);
        const ChatTokens& pair = framed.text;
        REQUIRE(framed.cut == (static_cast<int64_t>(Judge(bare(), *chat, *f.tokenizer, 10'000).pair_text({{"user", prompt}}, first, second).text.tokens.size()) > window));
        REQUIRE(static_cast<int64_t>(pair.tokens.size()) <= window);
        REQUIRE(ends_with(f.text(pair.tokens), "\n[The End of Assistant B's Answer]"));
        REQUIRE(pair.learned.back());
      }
    }
  }
}

TEST_CASE("a window must hold the frame") {
  const Fixture f;
  const Failure small = failure({}, f, "plain", 100);
  CHECK(small.exit_code == kExitUsage);
  CHECK(small.says("which leaves no room for a prompt and two answers in a window of 100; --judge.preamble none shortens it"));
}

TEST_CASE("preambles from a file, and what travels with a model") {
  const Fixture f;
  const auto plain = f.chat("plain");
  JudgeOptions options;
  options.labels = {"1", "2"};
  options.preamble = put(f.dir / "preamble.txt", "Say \"1\" or '2':\n  {not} a place\\n\n");
  const Judge judge(options, *plain, *f.tokenizer, 2000);
  const std::string text = f.text(judge.question(kPrompt, "yes", "no").tokens);
  CHECK(text.find("Say \"1\" or '2':\n  {not} a place\\n\n\n[User Question]\nWhy?") == 0);
  for (const JudgeOptions& some : {options, JudgeOptions(), bare()}) {
    const Judge original(some, *plain, *f.tokenizer, 2000);
    put(f.dir / kJudgeFile, original.to_yaml());
    const Judge loaded(load_judge_options(f.dir.path()), *plain, *f.tokenizer, 2000);
    CHECK(loaded.question(kPrompt, "yes", "no").tokens == original.question(kPrompt, "yes", "no").tokens);
    CHECK(loaded.labels() == original.labels());
    CHECK(loaded.to_yaml() == original.to_yaml());
  }
  TempDir none;
  CHECK(load_judge_options(none.path()).preamble == "standard");
  const auto says = [&](const std::string& yaml, const std::string& what) {
    put(f.dir / kJudgeFile, yaml);
    const Failure failure = failure_of([&] { load_judge_options(f.dir.path()); });
    CAPTURE(failure.message);
    return failure.says("judge.yaml") && failure.says(what);
  };
  CHECK(says("format: 2\nlabels: [A, B]\npreamble: x\n", "judge.yaml:1: found the format 2, expected 1"));
  CHECK(says("format: 1\nlabels: A\npreamble: x\n", "judge.yaml:2: 'labels' is one value, expected a list"));
  CHECK(says("format: 1\nlabels: [A, B]\n", "one of them is missing"));
  CHECK(says("format: 1\nlabel: A\n", "judge.yaml:2: 'label' is no part of a judge"));
  options.preamble = f.dir / "none.txt";
  CHECK(failure(options, f).says("none.txt"));
  options.preamble = put(f.dir / "bad.txt", "\xff");
  CHECK(failure(options, f).says("byte 1 is not valid UTF-8"));
}
