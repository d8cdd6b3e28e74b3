#include "data/chat_corpus.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "base/threads.h"
#include "support/files.h"
#include "support/gzip.h"
#include "support/rewrites.h"
#include "support/letter_template.h"

using namespace seqmill;
using namespace seqmill::data;
using namespace seqmill::test;

namespace {

std::string record(const std::string& prompt, const std::string& response) {
  return fmt::format("{{\"prompt\":\"{}\",\"response\":\"{}\"}}\n", prompt, response);
}

struct Place {
  ChatCorpus open() const { return ChatCorpus(files, frame, tokenizer, window, dir / "cache", false); }
  std::vector<std::string> conversations() const {
    const ChatCorpus corpus = open();
    std::vector<std::string> all;
    for (int64_t i = 0; i < corpus.size(); ++i) {
      all.push_back(shown(corpus.conversation(i)));
      CHECK(corpus.length(i) == static_cast<int64_t>(all.back().size()));
    }
    return all;
  }
  Failure failure() const {
    return failure_of([&] { open(); });
  }
  bool rebuilds() const {
    return rewrites(dir / "cache", [&] { open(); });
  }

  TempDir dir;
  std::vector<std::string> files{put(dir / "a", record("hello", "hi") + record("bye", "so long"))};
  LetterTemplate frame;
  ByteTokenizer tokenizer;
  int64_t window = 100;
};

/// `text` as `shown` would show it.
text::ChatTokens chat(const std::string& text) {
  text::ChatTokens chat;
  for (const char c : text) {
    const bool learned = (c >= 'A' && c <= 'Z') || c == '!';
    chat.tokens.push_back(byte_ids(std::string(1, !learned ? c : c == '!' ? '>' : static_cast<char>(c - 'A' + 'a')))[0]);
    chat.learned.push_back(learned);
  }
  return chat;
}

std::string cut(const std::string& text, int64_t window, int32_t bos = 0) { return shown(cut_conversation(chat(text), window, bos)); }

}  // namespace

TEST_CASE("conversations know which of their tokens are learned", "[chat-corpus]") {
  Place place;
  put(place.files[0], record("hello", "hi") + record("bye", "soon"));
  CHECK(place.conversations() == std::vector<std::string>{"^[hello]<HI!", "^[bye]<SOON!"});
  const ChatCounts counts = place.open().counts();
  CHECK((counts.records == 2 && counts.kept == 2 && counts.cut == 0 && counts.too_long == 0 && counts.tokens == 24 && counts.learned == 8));
  place.files.push_back(put(place.dir / "b", record("more", "yes")));
  CHECK(place.conversations().back() == "^[more]<YES!");
  CHECK(ChatCorpus(place.dir / "cache").size() == 3);
}

TEST_CASE("what is too long loses its beginning but never its end", "[chat-corpus]") {
  const std::string whole = "^[abcd]<XY!";  // of 11 tokens the model sees 10
  CHECK(cut(whole, 11) == whole);
  CHECK(cut(whole, 10) == whole);
  CHECK(cut(whole, 9) == "^abcd]<XY!");
  CHECK(cut(whole, 4) == "^<XY!");
  CHECK(cut(whole, 3) == "^XY!");
  CHECK(cut(whole, 2).empty());
  CHECK(cut(whole, 9, -1) == "[abcd]<XY!");
  CHECK(cut(whole, 9, 7) == "[abcd]<XY!");
  CHECK(cut(whole, 3, -1) == "<XY!");
  CHECK(cut(whole, 2, -1).empty());
  CHECK(cut("[]<XY!", 4) == "]<XY!");  // does not begin with the symbol
}

TEST_CASE("an answer cut in two is not learned", "[chat-corpus]") {
  const std::string whole = "^[ab]<UV![cd]<XY!";
  CHECK(cut(whole, 16) == whole);
  CHECK(cut(whole, 12) == "^<UV![cd]<XY!");
  CHECK(cut(whole, 11) == "^uv>[cd]<XY!");
  CHECK(cut(whole, 10) == "^v>[cd]<XY!");
  CHECK(cut(whole, 8) == "^[cd]<XY!");
}

TEST_CASE("what follows the last answer is dropped, and without an answer there is nothing to learn", "[chat-corpus]") {
  CHECK(cut("^[ab]<XY![cd]", 100) == "^[ab]<XY!");
  CHECK(cut("^[ab]<XY![cdefgh]", 8) == "^[ab]<XY!");
  CHECK(cut("^[ab]", 100).empty());
  CHECK(cut("", 100).empty());
  CHECK(cut("X", 100).empty());  // nothing before it
  CHECK(cut("XY", 100) == "XY");
}

TEST_CASE("long conversations are counted", "[chat-corpus]") {
  Place place;
  put(place.files[0], record("hello", "hi") + record("a", "b") + record("x", "much too long"));
  place.window = 7;
  CHECK(place.conversations() == std::vector<std::string>{"^lo]<HI!", "^[a]<B!"});
  const ChatCounts counts = place.open().counts();
  CHECK((counts.records == 3 && counts.kept == 2 && counts.cut == 1 && counts.too_long == 1));
  place.window = 2;
  CHECK(place.conversations() == std::vector<std::string>{"^B!"});
  place.window = 1;
  const Failure failure = place.failure();
  CHECK((failure.exit_code == kExitFailure && failure.says("no conversation of " + place.files[0]) && failure.says("all 3")));
}

TEST_CASE("a cache of conversations is used again while nothing changes", "[chat-corpus]") {
  Place place;
  place.open();
  CHECK_FALSE(place.rebuilds());
  place.window = 99;
  CHECK(place.rebuilds());
  place.frame.begin = "^^";
  CHECK(place.rebuilds());
  place.frame.has_system = false;
  CHECK(place.rebuilds());
  CHECK_FALSE(place.rebuilds());
  place.tokenizer.has_bos = false;
  CHECK(place.rebuilds());
  CHECK_FALSE(place.rebuilds());
  put(place.files[0], record("longer", "text"));
  CHECK(place.rebuilds());
  const std::string whole = get(place.dir / "cache");
  for (const std::string& damaged : {std::string(), whole.substr(0, whole.size() - 8), "x" + whole, std::string(whole.size(), '\0')}) {
    put(place.dir / "cache", damaged);
    CHECK(place.conversations() == std::vector<std::string>{"^^[longer]<TEXT!"});
    CHECK(get(place.dir / "cache") == whole);
  }
}

TEST_CASE("many conversations keep their order on any number of threads", "[chat-corpus]") {
  Place place;
  std::string records;
  for (int i = 0; i < 10000; ++i) records += record(std::to_string(i), "yes");
  put(place.files[0], records);
  const int before = threads();
  std::vector<std::string> caches;
  for (const int count : {1, 3}) {
    set_threads(count);
    std::filesystem::remove(place.dir / "cache");
    const std::vector<std::string> all = place.conversations();
    REQUIRE(all.size() == 10000);
    CHECK(all[7654] == "^[7654]<YES!");
    caches.push_back(get(place.dir / "cache"));
  }
  set_threads(before);
  CHECK((caches[0] == caches[1]));
}

TEST_CASE("bad records are named", "[chat-corpus]") {
  Place place;
  const std::string a = place.files[0];
  const auto says = [&](const std::string& line, const std::string& text) {
    put(a, record("good", "good") + line + "\n");
    const Failure failure = place.failure();
    CAPTURE(failure.message);
    CHECK((failure.exit_code == kExitFailure && failure.says(a + ":2") && failure.says(text)));
  };
  says("{\"prompt\":", "not valid JSON");
  says("{}", "prompt");
  says(R"({"messages":[{"role":"critic","content":"no"},{"role":"assistant","content":"a"}]})", "critic");
  place.frame.has_system = false;
  says(R"({"messages":[{"role":"system","content":"no"},{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})", "no place for a system");
  put(a, "");
  CHECK(place.failure().says(a + " is empty"));
}

TEST_CASE("bad records may be left out, and are counted", "[chat-corpus]") {
  Place place;
  place.files = {put(place.dir / "bad", "{\"prompt\":\"a\",\"response\":\"b\"}\nno JSON\n{\"prompt\":\"a\"}\n{\"prompt\":\"c\",\"response\":\"d\"}\n")};
  CHECK(failure_of([&] { place.open(); }).says("bad:2"));
  const ChatCorpus corpus(place.files, place.frame, place.tokenizer, place.window, place.dir / "cache", false, true);
  CHECK(corpus.size() == 2);
  CHECK(corpus.counts().records == 4);
  CHECK(corpus.counts().bad == 2);
}

TEST_CASE("a file that ends too early is an error even where bad records are left out", "[chat-corpus]") {
  Place place;
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += record(fmt::format("q{}", i * 7919), fmt::format("r{}", i * 104729));
  const std::string whole = gzip(lines), path = place.dir / "records.gz";
  const auto open = [&](const std::string& bytes) {
    return ChatCorpus({put(path, bytes)}, place.frame, place.tokenizer, place.window, place.dir / "other", false, true).size();
  };
  CHECK(open(whole) == 100);
  CHECK(failure_of([&] { open(whole.substr(0, whole.size() / 2)); }).says("truncated"));
}
