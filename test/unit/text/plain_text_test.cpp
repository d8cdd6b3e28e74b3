#include "text/plain_text.h"

#include <catch2/catch.hpp>

#include "support/byte_tokenizer.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::text;
using namespace seqmill::test;

namespace {

std::vector<std::string> chunks_of(const std::string& text) {
  const TempDir dir;
  PlainReader reader(put(dir / "text", text));
  std::vector<std::string> chunks;
  for (std::string chunk; reader.next(chunk);) chunks.push_back(chunk);
  return chunks;
}

std::string joined(const std::vector<std::string>& chunks) {
  std::string text;
  for (const std::string& chunk : chunks) text += chunk;
  return text;
}

}  // namespace

TEST_CASE("short text is one chunk", "[plain-text]") {
  for (const char* text : {"a", "a\n", "\n", "a\nb", " \n\n  x\n"}) CHECK(chunks_of(text) == std::vector<std::string>{text});
  CHECK(chunks_of("").empty());
}

TEST_CASE("chunks end behind line ends that no white space follows", "[plain-text]") {
  const std::string line(1000, 'x'), wide = "\xE3\x80\x80";
  std::string text;
  for (int i = 0; i < 500; ++i) text += line + (i % 3 == 0 ? "\n" : i % 3 == 1 ? "\n\n " : "\n" + wide);
  const std::vector<std::string> chunks = chunks_of(text);
  CHECK(joined(chunks) == text);
  REQUIRE(chunks.size() > 3);
  for (size_t i = 0; i + 1 < chunks.size(); ++i) {
    CHECK((chunks[i].size() >= 65536 && chunks[i].size() < 70000));
    CHECK(chunks[i].back() == '\n');
    CHECK(chunks[i + 1].front() == 'x');
  }
}

TEST_CASE("text without such places is cut in the end all the same", "[plain-text]") {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += " " + std::string(1000, 'x') + "\n";
  const std::vector<std::string> chunks = chunks_of(text);
  CHECK(chunks.size() == 2);
  CHECK((joined(chunks) == text));
}

TEST_CASE("words and line ends are counted", "[plain-text]") {
  CHECK(count_words("") == 0);
  CHECK(count_words("one") == 1);
  CHECK(count_words(" one\t two \n\n") == 4);
  CHECK(count_words("a\xC2\xA0"
                    "b\n") == 3);
}
