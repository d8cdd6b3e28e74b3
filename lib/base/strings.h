#pragma once
// Small things done to strings of bytes. What needs Unicode is in text/unicode.h.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace seqmill {

/// Splits at every `separator`; "a,,b" gives three fields, "" gives one empty field.
std::vector<std::string> split(std::string_view text, char separator);
/// Without ASCII white space at either end.
std::string_view trim(std::string_view text);
bool starts_with(std::string_view text, std::string_view prefix);
bool ends_with(std::string_view text, std::string_view suffix);
std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// The whole text as a number; false if anything else stands in it. "010" is ten, "1e3" is no integer, "nan" is no number.
bool parse_int(std::string_view text, int64_t& value);
bool parse_double(std::string_view text, double& value);

/// The shortest decimal text that reads back as the same double.
std::string format_double(double value);
/// Bash-readable: quoted only where needed.
std::string quote_shell(std::string_view word);
/// 3725 s -> "1:02:05".
std::string format_duration(double seconds);
/// At most `size` bytes of UTF-8 text, cut between characters, with "..." when something was cut. For messages.
std::string excerpt(const std::string& text, size_t size);

/// Edit distance with unit costs, in bytes.
size_t edit_distance(std::string_view a, std::string_view b);
/// The candidate nearest to `name` by edit distance, or "" when none is near enough to be a likely misspelling.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

/// The byte offset of the first byte that is not valid UTF-8 (overlong forms, surrogates and code points past U+10FFFF are
/// not), or npos.
size_t find_invalid_utf8(std::string_view text);
/// Valid UTF-8: one U+FFFD in place of a byte that begins no whole character and of the continuation bytes behind it.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace seqmill
