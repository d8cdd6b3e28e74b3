#pragma once
// Unicode for text and metrics: code points, white space, general categories, lower case. Text is UTF-8 in and out; callers
// pass valid UTF-8 (`find_invalid_utf8` of base/strings.h says whether it is), other bytes are read as U+FFFD.
// Categories and case mappings are those of the ICU that is linked (72: Unicode 15.0).

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace seqmill::text {

/// The code point at `position` of `utf8`, which is moved behind it; position < size.
char32_t next_code_point(std::string_view utf8, size_t& position);
/// Replaces `out` by the code points of `utf8`.
void decode_utf8(std::string_view utf8, std::u32string& out);
void append_utf8(std::string& out, char32_t code_point);

/// White space as Python's str.isspace has it: U+0009..D, U+001C..1F, U+0020, U+0085, U+00A0, U+1680, U+2000..A, U+2028,
/// U+2029, U+202F, U+205F, U+3000. The zero-width space and the byte order mark are none.
bool is_space(char32_t code_point);
/// General category P, S, N.
bool is_punctuation(char32_t code_point);
bool is_symbol(char32_t code_point);
bool is_number(char32_t code_point);

/// Full, language-independent lower-casing: one code point may become two, and a capital sigma is mapped by its context.
std::string to_lower(std::string_view utf8);

/// Normalisation form C (Unicode standard annex 15).
std::string to_nfc(std::string_view utf8);

/// Without white space (`is_space`) at the end, or at both ends.
std::string_view trim_right(std::string_view utf8);
std::string_view trim_both(std::string_view utf8);
/// Replaces `words` by the pieces of `utf8` between runs of white space; the views point into `utf8`.
void split_words(std::string_view utf8, std::vector<std::string_view>& words);

}  // namespace seqmill::text
