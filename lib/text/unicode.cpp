#include "text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include <algorithm>

#include "base/error.h"

namespace seqmill::text {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool has_category(char32_t code_point, uint32_t mask) {
  return (U_MASK(u_charType(static_cast<UChar32>(code_point))) & mask) != 0;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_ascii_space(unsigned char c) { return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F); }

// Bytes of the white space character at `position`, 0 if there is none. Only four lead bytes start one outside ASCII, so that
// most text never gets decoded.
size_t space_length(std::string_view text, size_t position) {
  const auto c = static_cast<unsigned char>(text[position]);
  if (c < 0x80) return is_ascii_space(c) ? 1 : 0;
  if (c != 0xC2 && c != 0xE1 && c != 0xE2 && c != 0xE3) return 0;
  size_t next = position;
  return is_space(next_code_point(text, next)) ? next - position : 0;
}

bool is_continuation(std::string_view text, size_t position) {
  return position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80;
}

}  // namespace

char32_t next_code_point(std::string_view utf8, size_t& position) {
  const auto lead = static_cast<unsigned char>(utf8[position++]);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xF0 && lead < 0xF8 ? 3 : lead >= 0xE0 && lead < 0xF0 ? 2 : lead >= 0xC0 && lead < 0xE0 ? 1 : 0;
  if (more == 0) return kReplacement;
  char32_t value = lead & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    if (!is_continuation(utf8, position)) return kReplacement;
    value = (value << 6) | (static_cast<unsigned char>(utf8[position++]) & 0x3F);
  }
  return value <= 0x10FFFF ? value : kReplacement;
}

void decode_utf8(std::string_view utf8, std::u32string& out) {
  out.clear();
  for (size_t i = 0; i < utf8.size();) out.push_back(next_code_point(utf8, i));
}

void append_utf8(std::string& out, char32_t c) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80 | ((c >> shift) & 0x3F))); };
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    tail(0);
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    tail(12), tail(6), tail(0);
  }
}

bool is_space(char32_t c) {
  if (c < 0x80) return is_ascii_space(static_cast<unsigned char>(c));
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_punctuation(char32_t c) { return has_category(c, U_GC_P_MASK); }
bool is_symbol(char32_t c) { return has_category(c, U_GC_S_MASK); }
bool is_number(char32_t c) { return has_category(c, U_GC_N_MASK); }

std::string to_lower(std::string_view utf8) {
  std::string out(utf8);
  if (is_ascii(utf8)) {
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return out;
  }
  // ICU's full mapping works on UTF-16. The root locale keeps Turkish and Lithuanian rules out.
  std::u16string wide;
  for (size_t i = 0; i < utf8.size();) {
    const char32_t c = next_code_point(utf8, i);
    if (c >= 0x10000) wide.push_back(static_cast<char16_t>(U16_LEAD(c)));
    wide.push_back(static_cast<char16_t>(c >= 0x10000 ? U16_TRAIL(c) : c));
  }
  std::u16string lower(3 * wide.size(), u'\0');  // no code point becomes more than three units
  UErrorCode status = U_ZERO_ERROR;
  const int32_t length = u_strToLower(lower.data(), static_cast<int32_t>(lower.size()), wide.data(),
                                      static_cast<int32_t>(wide.size()), "", &status);
  if (U_FAILURE(status)) fail("lower-casing failed: {}", u_errorName(status));
  out.clear();
  for (int32_t i = 0; i < length;) {
    UChar32 c;
    U16_NEXT(lower.data(), i, length, c);
    append_utf8(out, static_cast<char32_t>(c));
  }
  return out;
}

std::string to_nfc(std::string_view utf8) {
  std::string out;
  if (is_ascii(utf8)) return std::string(utf8);
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = icu::Normalizer2::getNFCInstance(status);
  if (U_SUCCESS(status)) {
    icu::StringByteSink<std::string> sink(&out);
    normalizer->normalizeUTF8(0, icu::StringPiece(utf8.data(), static_cast<int32_t>(utf8.size())), sink, nullptr, status);
  }
  if (U_FAILURE(status)) fail("normalising a text failed: {}", u_errorName(status));
  return out;
}

std::string_view trim_right(std::string_view utf8) {
  while (!utf8.empty()) {
    size_t last = utf8.size() - 1;
    while (last > 0 && is_continuation(utf8, last)) --last;
    const size_t length = space_length(utf8, last);
    if (length == 0 || last + length != utf8.size()) break;
    utf8.remove_suffix(length);
  }
  return utf8;
}

std::string_view trim_both(std::string_view utf8) {
  while (!utf8.empty()) {
    const size_t length = space_length(utf8, 0);
    if (length == 0) break;
    utf8.remove_prefix(length);
  }
  return trim_right(utf8);
}

void split_words(std::string_view utf8, std::vector<std::string_view>& words) {
  words.clear();
  size_t begin = 0;
  for (size_t i = 0; i < utf8.size();) {
    const size_t space = space_length(utf8, i);
    if (space == 0) {
      ++i;
      continue;
    }
    if (i > begin) words.push_back(utf8.substr(begin, i - begin));
    i += space;
    begin = i;
  }
  if (begin < utf8.size()) words.push_back(utf8.substr(begin));
}

}  // namespace seqmill::text
