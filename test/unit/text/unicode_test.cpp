#include "text/unicode.h"

#include <catch2/catch.hpp>

#include "base/strings.h"

using namespace seqmill;
using namespace seqmill::text;

namespace {

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string_view> views;
  split_words(text, views);
  return {views.begin(), views.end()};
}

}  // namespace

TEST_CASE("code points are decoded and encoded") {
  std::u32string decoded;
  decode_utf8("aé漢😀", decoded);
  CHECK(decoded == U"aé漢😀");
  std::string encoded;
  for (const char32_t c : decoded) append_utf8(encoded, c);
  CHECK(encoded == "aé漢😀");
  size_t position = 1;
  CHECK(next_code_point("aéb", position) == U'é');
  CHECK(position == 3);
}

TEST_CASE("every code point survives a round trip") {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    size_t position = 0;
    if (find_invalid_utf8(text) != std::string::npos || next_code_point(text, position) != c ||
        position != text.size()) {
      FAIL("U+" << std::hex << static_cast<uint32_t>(c));
    }
  }
}

TEST_CASE("other bytes are read as U+FFFD and never past the end") {
  for (const std::string_view text : {"\x80", "\xFF", "\xC3", "\xE2\x82", "\xF0\x9F\x98"}) {
    for (size_t position = 0; position < text.size();) {
      CHECK(next_code_point(text, position) == 0xFFFD);
      CHECK(position <= text.size());
    }
  }
}

TEST_CASE("white space is that of Python's str.isspace") {
  const std::u32string spaces =
      U"\u0009\u000A\u000B\u000C\u000D\u001C\u001D\u001E\u001F\u0020\u0085\u00A0\u1680\u2000\u2001\u2002\u2003"
      U"\u2004\u2005\u2006"
      U"\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000";
  for (char32_t c = 0; c < 0x11000; ++c) {
    const bool expected = spaces.find(c) != std::u32string::npos;
    if (is_space(c) != expected) FAIL("U+" << std::hex << static_cast<uint32_t>(c));
  }
}

TEST_CASE("general categories") {
  CHECK((is_punctuation(U'!') && is_punctuation(U'«') && is_punctuation(U'。') && is_punctuation(U'-')));
  CHECK((is_symbol(U'$') && is_symbol(U'€') && is_symbol(U'+') && is_symbol(U'😀')));
  CHECK((is_number(U'7') && is_number(U'½') && is_number(U'٣')));
  for (const char32_t c : U"aé漢 ") CHECK_FALSE((is_punctuation(c) || is_symbol(c) || is_number(c)));
}

TEST_CASE("lower-casing is full and independent of language") {
  CHECK(to_lower("ABC xyz 12") == "abc xyz 12");
  CHECK(to_lower("ÄÖÜ ẞ ÉÀ") == "äöü ß éà");
  CHECK(to_lower("İ") == "i̇");
  CHECK(to_lower("ΟΔΟΣ ΣΑ") == "οδος σα");
  CHECK(to_lower("𐐀") == "𐐨");
  CHECK(to_lower("").empty());
}

TEST_CASE("trimming and splitting at white space") {
  CHECK(trim_right(" a \u3000\u00A0") == " a");
  CHECK(trim_both("\u2003 a b \n") == "a b");
  CHECK(trim_both(" \u3000 ").empty());
  CHECK(trim_right("a\u200B") == "a\u200B");
  CHECK(words_of("\u3000a  b\u00A0é\n") == std::vector<std::string>{"a", "b", "é"});
  CHECK(words_of(" ").empty());
  CHECK(words_of("a\u200Bb") == std::vector<std::string>{"a\u200Bb"});
}
