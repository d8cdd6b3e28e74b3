#include "base/strings.h"

#include <catch2/catch.hpp>
#include <limits>

using namespace seqmill;

namespace {

using Words = std::vector<std::string>;

bool is_int(std::string_view text, int64_t expected) {
  int64_t value = 0;
  return parse_int(text, value) && value == expected;
}
bool no_int(std::string_view text) {
  int64_t value = 0;
  return !parse_int(text, value);
}
bool is_double(std::string_view text, double expected) {
  double value = 0;
  return parse_double(text, value) && value == expected;
}
bool no_double(std::string_view text) {
  double value = 0;
  return !parse_double(text, value);
}

}  // namespace

TEST_CASE("split keeps empty fields, and join undoes it") {
  CHECK(split("a,,b", ',') == Words{"a", "", "b"});
  CHECK(split("", ',') == Words{""});
  CHECK(split(",", ',') == Words{"", ""});
  CHECK(join(split("a,,b,", ','), ",") == "a,,b,");
  CHECK(join({}, ", ").empty());
}

TEST_CASE("trim, prefixes and suffixes") {
  CHECK(trim(" \t a b\r\n") == "a b");
  CHECK(trim(" \n ").empty());
  CHECK(starts_with("model.dim", "model."));
  CHECK_FALSE(starts_with("mod", "model"));
  CHECK(ends_with("a.gz", ".gz"));
  CHECK_FALSE(ends_with("gz", ".gz"));
  CHECK(ends_with("x", ""));
}

TEST_CASE("integers are parsed whole, in decimal") {
  CHECK(is_int("010", 10));
  CHECK(is_int("-7", -7));
  CHECK(is_int("+7", 7));
  CHECK(is_int("9223372036854775807", std::numeric_limits<int64_t>::max()));
  for (const char* text : {"", "+", "-", " 1", "1 ", "1e3", "0x10", "1.0", "9223372036854775808", "--1", "+-"}) {
    CAPTURE(text);
    CHECK(no_int(text));
  }
}

TEST_CASE("numbers are parsed whole and are finite") {
  CHECK(is_double("1e-3", 0.001));
  CHECK(is_double("+.5", 0.5));
  CHECK(is_double("010", 10));
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "1,5", "1 ", " 1", "0x1p3", "e5"}) {
    CAPTURE(text);
    CHECK(no_double(text));
  }
}

TEST_CASE("doubles are written with the shortest digits that read back") {
  CHECK(format_double(0.1) == "0.1");
  for (const double value : {1.0 / 3.0, 5e-324, 1e300, -2.5, 0.0}) CHECK(is_double(format_double(value), value));
}

TEST_CASE("words are quoted for the shell only where needed") {
  CHECK(quote_shell("a/b-c=1") == "a/b-c=1");
  CHECK(quote_shell("") == "''");
  CHECK(quote_shell("a b") == "'a b'");
  CHECK(quote_shell("it's") == "'it'\\''s'");
}

TEST_CASE("durations") {
  CHECK(format_duration(3725) == "1:02:05");
  CHECK(format_duration(59.9) == "0:00:59");
  CHECK(format_duration(-1) == "?");
}

TEST_CASE("edit distance and the nearest name") {
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("abc", "abc") == 0);
  CHECK(nearest("transfomer", {"rnn", "transformer"}) == "transformer");
  CHECK(nearest("xyz", {"transformer"}).empty());
  CHECK(nearest("x", {}).empty());
}

TEST_CASE("the first invalid byte of UTF-8 is found") {
  const size_t none = std::string_view::npos;
  CHECK(find_invalid_utf8("") == none);
  CHECK(find_invalid_utf8("aé漢😀\xF4\x8F\xBF\xBF") == none);
  CHECK(find_invalid_utf8(std::string_view("\0", 1)) == none);
  CHECK(find_invalid_utf8("ab\x80") == 2);  // a continuation alone
  CHECK(find_invalid_utf8("a\xC3") == 1);   // cut off
  CHECK(find_invalid_utf8("a\xC3(") == 1);
  CHECK(find_invalid_utf8("\xC0\xAF") == 0);  // overlong
  CHECK(find_invalid_utf8("\xE0\x80\xAF") == 0);
  CHECK(find_invalid_utf8("\xF0\x80\x80\xAF") == 0);
  CHECK(find_invalid_utf8("\xED\xA0\x80") == 0);      // surrogate
  CHECK(find_invalid_utf8("\xF4\x90\x80\x80") == 0);  // past U+10FFFF
  CHECK(find_invalid_utf8("\xFF") == 0);
}

TEST_CASE("bytes that are no character become U+FFFD") {
  CHECK(replace_invalid_utf8("") == "");
  CHECK(replace_invalid_utf8("Stra\xC3\x9F" "e") == "Stra\xC3\x9F" "e");
  CHECK(replace_invalid_utf8("a\xE2\x82") == "a\xEF\xBF\xBD");
  CHECK(replace_invalid_utf8("\xE2\x82x\xFF\xFE") == "\xEF\xBF\xBDx\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(replace_invalid_utf8("\xED\xA0\x80z") == "\xEF\xBF\xBDz");
}
