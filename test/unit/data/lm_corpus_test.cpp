#include "data/lm_corpus.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "base/threads.h"
#include "support/byte_tokenizer.h"
#include "support/files.h"
#include "support/rewrites.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::data;
using namespace seqmill::test;

namespace {

struct Place {
  std::string add(const std::string& name, const std::string& bytes) {
    files.push_back(put(dir / name, bytes));
    return files.back();
  }
  StreamCorpus open() const { return StreamCorpus(files, format, tokenizer, dir / "cache", false); }
  Failure failure() const {
    return failure_of([&] { open(); });
  }
  Tokens tokens() const {
    const StreamCorpus corpus = open();
    return corpus.slice(0, corpus.size());
  }
  bool rebuilds() const {
    return rewrites(dir / "cache", [&] { open(); });
  }

  TempDir dir;
  std::vector<std::string> files;
  StreamFormat format;
  ByteTokenizer tokenizer;
};

}  // namespace

TEST_CASE("text is a stream that keeps its line ends", "[lm-corpus]") {
  Place place;
  place.add("a", "one  two\n\nthree\n");
  place.add("b", "no line end");
  CHECK(place.tokens() == byte_ids("^one  two\n\nthree\n$no line end$"));
  const StreamCounts counts = place.open().counts();
  CHECK((counts.documents == 2 && counts.empty == 0));
  CHECK(counts.words == 3 + 3 + 3);  // words of a, its line ends, words of b
  CHECK(counts.bytes == 16 + 11);
  CHECK(place.dir.names() == std::vector<std::string>{"a", "b", "cache"});
  place.tokenizer.has_bos = false;
  CHECK(place.tokens() == byte_ids("one  two\n\nthree\n$no line end$"));
}

TEST_CASE("documents of JSON lines are framed one by one", "[lm-corpus]") {
  Place place;
  place.format.kind = "jsonl";
  place.add("a", R"({"id":1,"text":"one\ntwo"})" "\n" R"({"text":""})" "\n" R"({"text":"\u00e9"})" "\n");
  place.add("b", R"({"text":"x"})");
  CHECK(place.tokens() == byte_ids("^one\ntwo$^\xC3\xA9$^x$"));
  const StreamCounts counts = place.open().counts();
  CHECK((counts.documents == 3 && counts.empty == 1 && counts.words == 5 && counts.bytes == 10));
  place.format.text_field = "body";
  put(place.files[0], R"({"text":"no","body":"yes"})" "\n");
  place.files.pop_back();
  CHECK(place.tokens() == byte_ids("^yes$"));
}

TEST_CASE("compressed text", "[lm-corpus]") {
  Place place;
  place.add("a.gz", gzip("packed\n"));
  CHECK(place.tokens() == byte_ids("^packed\n$"));
}

TEST_CASE("long text comes out whole, on any number of threads", "[lm-corpus]") {
  Place place;
  std::string text, records;
  for (int i = 0; i < 700000; ++i) text += std::to_string(i) + (i % 13 == 0 ? "\n\n \n" : i % 3 == 0 ? "\n" : " ");
  for (int i = 0; i < 300000; ++i) records += fmt::format("{{\"text\":\"document {}\"}}\n", i);
  REQUIRE(text.size() > (size_t{1} << 22));
  place.add("a", text);
  const int before = threads();
  std::vector<std::string> texts, jsonls;
  for (const int count : {1, 3}) {
    set_threads(count);
    std::filesystem::remove(place.dir / "cache");
    place.format.kind = "text";
    put(place.files[0], text);
    CHECK((place.tokens() == byte_ids("^" + text + "$")));
    texts.push_back(get(place.dir / "cache").substr(0, text.size()));
    place.format.kind = "jsonl";
    put(place.files[0], records);
    const Tokens ids = place.tokens();
    CHECK(place.open().counts().documents == 300000);
    CHECK((Tokens(ids.end() - 17, ids.end()) == byte_ids("^document 299999$")));
    jsonls.push_back(get(place.dir / "cache").substr(0, records.size()));
  }
  set_threads(before);
  CHECK((texts[0] == texts[1] && jsonls[0] == jsonls[1]));
}

TEST_CASE("a token cache is used again while nothing changes", "[lm-corpus]") {
  Place place;
  const std::string a = place.add("a", "some text\n");
  place.open();
  CHECK_FALSE(place.rebuilds());
  CHECK(place.open().counts().words == 3);
  const auto written = std::filesystem::last_write_time(a);
  put(a, "same size\n");
  std::filesystem::last_write_time(a, written + std::chrono::microseconds(1));
  CHECK(place.rebuilds());
  CHECK(place.tokens() == byte_ids("^same size\n$"));
  place.tokenizer.has_bos = false;
  CHECK(place.rebuilds());
  place.add("b", "more\n");
  CHECK(place.rebuilds());
  std::swap(place.files[0], place.files[1]);
  CHECK(place.rebuilds());
  place.format.text_field = "other";  // which text has none of
  CHECK_FALSE(place.rebuilds());
  put(place.files[0], "{\"text\":\"x\"}\n");
  put(place.files[1], "{\"text\":\"y\"}\n");
  place.format = {"jsonl", "text"};
  CHECK(place.rebuilds());
  CHECK_FALSE(place.rebuilds());
  put(place.files[0], "{\"text\":\"x\",\"t\":\"\"}\n");
  place.open();
  place.format.text_field = "t";
  CHECK(place.failure().says("b holds no text"));
}

TEST_CASE("a damaged token cache is made anew", "[lm-corpus]") {
  Place place;
  place.add("a", "some text, and more\n");
  place.open();
  const std::string whole = get(place.dir / "cache");
  const auto changed = [&](size_t place_from_end, char by) {
    std::string bytes = whole;
    bytes[bytes.size() - place_from_end] = static_cast<char>(bytes[bytes.size() - place_from_end] ^ by);
    return bytes;
  };
  for (const std::string& damaged : {std::string(), whole.substr(0, 20), whole.substr(0, whole.size() - 1), whole + "x", whole.substr(0, whole.size() / 2),
                                     changed(whole.size(), 1), changed(32, 1), changed(24, 1), changed(17, 64), changed(16, 1), changed(9, 127), changed(8, 8),
                                     std::string(whole.size(), '\0'), std::string(whole.size(), '\xff')}) {
    CAPTURE(damaged.size());
    put(place.dir / "cache", damaged);
    CHECK(place.tokens() == byte_ids("^some text, and more\n$"));
    CHECK(get(place.dir / "cache") == whole);
  }
}

TEST_CASE("what another process has made can be opened by its name", "[lm-corpus]") {
  Place place;
  place.add("a", "some text\n");
  place.open();
  CHECK(StreamCorpus(place.dir / "cache").size() == 12);
  const Failure failure = failure_of([&] { StreamCorpus corpus(place.dir / "nowhere"); });
  CHECK((failure.says("nowhere") && failure.says("all ranks share")));
}

TEST_CASE("text that cannot be learned from is an error", "[lm-corpus]") {
  Place place;
  place.add("a", "good\n");
  const std::string b = place.add("b", "");
  CHECK(place.failure().says(b + " holds no text"));
  put(b, "\n \n\t\n");
  CHECK(place.failure().says(b + " holds no text"));
  put(b, "good\n\xff\xfe\n");
  CHECK(place.failure().says(b + ":2: byte 1"));
  put(b, std::string("a\0b\n", 4));
  CHECK(place.failure().says(b + ":1: byte 2 of the line is NUL"));
  put(b, gzip("packed text\n").substr(0, 20));
  CHECK(place.failure().says(b));
  std::filesystem::remove(b);
  CHECK(place.failure().says(b));
  CHECK(place.dir.names() == std::vector<std::string>{"a"});
  put(b, "well\n");
  CHECK(place.tokens() == byte_ids("^good\n$well\n$"));
}

TEST_CASE("bad JSON lines are named", "[lm-corpus]") {
  Place place;
  place.format.kind = "jsonl";
  const std::string a = place.add("a", "");
  const auto says = [&](const std::string& line, const std::string& text) {
    put(a, "{\"text\":\"good\"}\n" + line + "\n");
    const Failure failure = place.failure();
    CAPTURE(failure.message);
    CHECK((failure.exit_code == kExitFailure && failure.says(a + ":2") && failure.says(text)));
  };
  says("{\"text\":", "not valid JSON");
  says("", "not valid JSON");
  says("[1]", "found an array");
  says("{\"id\":1,\"txt\":\"x\"}", "found one with id, txt");
  says("{}", "an object without fields");
  says("{\"text\":7}", "expected a string, found an integer");
  says(R"({"text":"\ud800"})", "not valid JSON");
  put(a, "");
  CHECK(place.failure().says(a + " holds no text"));
  put(a, "{\"text\":\"\"}\n");
  CHECK(place.failure().says(a + " holds no text"));
}
