#include <catch2/catch_test_macros.hpp>

#include "base/strings.h"
#include "metric/chrf.h"
#include "metric/rouge.h"
#include "metric/ter.h"
#include "metric/tokenize.h"
#include "text/unicode.h"

using namespace seqmill;
using namespace seqmill::metric;

namespace {

std::string joined(const std::vector<std::string_view>& tokens) { return join({tokens.begin(), tokens.end()}, " "); }

std::string tokens_of(const std::string& tokenizer, const std::string& line) {
  std::vector<std::string_view> tokens;
  const auto maker = make_tokenizer(tokenizer);
  maker->tokenize(line, tokens);
  return joined(tokens);
}

std::string ter_tokens(const std::string& line, bool normalized, bool no_punct, bool asian) {
  TerOptions options;
  options.normalized = normalized;
  options.no_punct = no_punct;
  options.asian = asian;
  std::string buffer;
  std::vector<std::string_view> tokens;
  tokenize_ter(line, options, buffer, tokens);
  return joined(tokens);
}

}  // namespace

TEST_CASE("13a splits punctuation but not inside numbers", "[tokenize]") {
  CHECK(tokens_of("13a", "Hello, world!") == "Hello , world !");
  CHECK(tokens_of("13a", "It costs $1,000.50 (or so).") == "It costs $ 1,000.50 ( or so ) .");
  CHECK(tokens_of("13a", "it's well-known, 5-year") == "it's well-known , 5 - year");
  CHECK(tokens_of("13a", ".5 5. a.b") == ". 5 5 . a . b");
  CHECK(tokens_of("13a", "a &quot;b&quot; &amp;lt; <skipped>c &#39;") == "a \" b \" < c & # 39 ;");
  CHECK(tokens_of("13a", "") == "");
  CHECK(tokens_of("13a", " \t\xC2\xA0 ") == "");
}

TEST_CASE("intl goes by Unicode categories", "[tokenize]") {
  CHECK(tokens_of("intl", "«Hallo», 3,5€!") == "« Hallo » , 3,5 € !");
  CHECK(tokens_of("intl", "well-known") == "well - known");
  CHECK(tokens_of("intl", "&quot;") == "& quot ;");
}

TEST_CASE("zh isolates Chinese characters", "[tokenize]") {
  CHECK(tokens_of("zh", "他说abc。") == "他 说 abc 。");
  CHECK(tokens_of("zh", "“x”") == "“ x ”");
  CHECK(tokens_of("zh", "a\xF0\xA0\x80\x80" "b") == "a\xF0\xA0\x80\x80" "b");  // U+20000, outside the basic plane
}

TEST_CASE("char and none", "[tokenize]") {
  CHECK(tokens_of("char", "añ 好") == "a ñ 好");
  CHECK(tokens_of("none", " a,  b\xE3\x80\x80" "c ") == "a, b c");
  CHECK_THROWS_AS(make_tokenizer("14b"), Error);
}

TEST_CASE("Tercom's normaliser", "[tokenize]") {
  CHECK(ter_tokens("Hello, World", false, false, false) == "hello, world");
  CHECK(ter_tokens("The dog's bone, 1.5-fold.", true, false, false) == "the dog 's bone , 1.5 - fold .");
  CHECK(ter_tokens("(a) b: \"c\"?", false, true, false) == "a b c");
  CHECK(ter_tokens("好的。", true, false, true) == "好 的 。");
  CHECK(ter_tokens("好的。", true, false, false) == "好的。");
  CHECK(ter_tokens("好的。", false, false, true) == "好的。");
  CHECK(ter_tokens("好的。", false, true, true) == "好的");
}

TEST_CASE("chrF++ words lose one punctuation mark", "[tokenize]") {
  std::vector<std::string_view> words;
  split_chrf_words("(hi) \"a, b.. . é!", words);
  CHECK(joined(words) == "(hi ) \"a , b. . . é !");
}

TEST_CASE("ROUGE keeps a-z and 0-9", "[tokenize]") {
  std::vector<std::string> tokens;
  tokenize_rouge("Café-Owner's 3,5 \xE2\x84\xAA!", false, tokens);  // the Kelvin sign becomes k
  CHECK(tokens == std::vector<std::string>{"caf", "owner", "s", "3", "5", "k"});
}

TEST_CASE("Unicode lower case, white space, words", "[unicode]") {
  CHECK(text::to_lower("ÀB ΣΑΣ") == "àb σας");
  CHECK(text::to_lower("İ") == "i\xCC\x87");
  CHECK(text::to_lower("ABC") == "abc");
  CHECK(text::trim_right("a \xE2\x80\xA8\t") == "a");
  CHECK(text::trim_both("\x1C" "a b\xC2\x85") == "a b");
  CHECK_FALSE(text::is_space(0x200B));
  CHECK_FALSE(text::is_space(0xFEFF));
  std::vector<std::string_view> words;
  text::split_words("\xE3\x80\x80" "a\xE2\x80\x83" "bc  ", words);
  CHECK(words == std::vector<std::string_view>{"a", "bc"});
  std::u32string points;
  text::decode_utf8("a\xF0\x9F\x98\x80\xFF", points);
  CHECK(points == std::u32string{U'a', 0x1F600, 0xFFFD});
  std::string back;
  for (const char32_t c : std::u32string{U'a', 0xE9, 0x4E00, 0x1F600}) text::append_utf8(back, c);
  CHECK(back == "aé一\xF0\x9F\x98\x80");
}
