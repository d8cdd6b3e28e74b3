#include "metric/tokenize.h"

#include <array>

#include "base/error.h"
#include "base/strings.h"
#include "text/unicode.h"

namespace seqmill::metric {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_period(char c) { return c == '.' || c == ','; }

// The ranges {-~ [-` !-& (-+ :-@ and / of the reference's expression. It also pads the space itself, which changes no token.
constexpr std::array<bool, 256> western_punctuation() {
  std::array<bool, 256> table{};
  for (int c = '{'; c <= '~'; ++c) table[c] = true;
  for (int c = '['; c <= '`'; ++c) table[c] = true;
  for (int c = '!'; c <= '&'; ++c) table[c] = true;
  for (int c = '('; c <= '+'; ++c) table[c] = true;
  for (int c = ':'; c <= '@'; ++c) table[c] = true;
  table['/'] = true;
  return table;
}
constexpr std::array<bool, 256> kWesternPunctuation = western_punctuation();

// One substitution pass over `in`: where `matches(i)` holds for the pair at i, both characters are consumed and `emit(i)`
// writes them. Like a regular expression's, the pairs do not overlap: "1.,2" holds one pair, not two.
template <typename Text, typename Matches, typename Emit>
void rewrite_pairs(const Text& in, Text& out, Matches matches, Emit emit) {
  out.clear();
  size_t i = 0;
  while (i < in.size()) {
    if (i + 1 < in.size() && matches(in[i], in[i + 1])) {
      emit(in[i], in[i + 1]);
      i += 2;
    } else {
      out.push_back(in[i++]);
    }
  }
}

class WhiteSpaceTokenizer : public Tokenizer {
 public:
  void tokenize(std::string_view line, std::vector<std::string_view>& tokens) override { text::split_words(line, tokens); }
};

class CharTokenizer : public Tokenizer {
 public:
  void tokenize(std::string_view line, std::vector<std::string_view>& tokens) override {
    tokens.clear();
    for (size_t i = 0; i < line.size();) {
      const size_t begin = i;
      if (!text::is_space(text::next_code_point(line, i))) tokens.push_back(line.substr(begin, i - begin));
    }
  }
};

class Tokenizer13a : public Tokenizer {
 public:
  void tokenize(std::string_view line, std::vector<std::string_view>& tokens) override {
    line_.assign(1, ' ');
    line_.append(text::trim_right(line));
    line_.push_back(' ');
    replace_all(line_, "<skipped>", "");
    unescape_entities(line_);
    pad_western_punctuation(line_, padded_);
    split_periods_and_dashes(padded_, line_);
    text::split_words(padded_, tokens);
  }

 private:
  std::string line_, padded_;
};

// The reference writes two of its ranges as "\u20000" and "\u2f800", which its language reads as four digits and a
// character; compared as strings they take in U+2001..2A6D and U+2F81..2FA1, and leave the supplementary planes out.
bool is_isolated_by_zh(char32_t c) {
  constexpr char32_t kRanges[][2] = {
      {0x2001, 0x2A6D}, {0x2E80, 0x2EFF}, {0x2F00, 0x2FDF}, {0x2FF0, 0x303F}, {0x3100, 0x312F},
      {0x31A0, 0x31BF}, {0x31C0, 0x31EF}, {0x3200, 0x33FF}, {0x3400, 0x4DB5}, {0x4E00, 0x9FBB},
      {0xF900, 0xFA2D}, {0xFA30, 0xFA6A}, {0xFA70, 0xFAD9}, {0xFE10, 0xFE1F}, {0xFE30, 0xFE4F}, {0xFF00, 0xFFEF}};
  if (c < 0x2001) return false;
  for (const auto& range : kRanges) {
    if (c >= range[0] && c <= range[1]) return true;
  }
  return false;
}

class ZhTokenizer : public Tokenizer {
 public:
  void tokenize(std::string_view line, std::vector<std::string_view>& tokens) override {
    line = text::trim_both(line);
    line_.clear();
    for (size_t i = 0; i < line.size();) {
      const size_t begin = i;
      const bool isolate = is_isolated_by_zh(text::next_code_point(line, i));
      if (isolate) line_.push_back(' ');
      line_.append(line.substr(begin, i - begin));
      if (isolate) line_.push_back(' ');
    }
    pad_western_punctuation(line_, padded_);
    split_periods_and_dashes(padded_, line_);
    text::split_words(padded_, tokens);
  }

 private:
  std::string line_, padded_;
};

class IntlTokenizer : public Tokenizer {
 public:
  void tokenize(std::string_view line, std::vector<std::string_view>& tokens) override {
    text::decode_utf8(text::trim_right(line), in_);
    rewrite_pairs(
        in_, out_, [](char32_t a, char32_t b) { return text::is_punctuation(b) && !text::is_number(a); },
        [this](char32_t a, char32_t b) { out_ += {a, U' ', b, U' '}; });
    rewrite_pairs(
        out_, in_, [](char32_t a, char32_t b) { return text::is_punctuation(a) && !text::is_number(b); },
        [this](char32_t a, char32_t b) { in_ += {U' ', a, U' ', b}; });
    utf8_.clear();
    for (const char32_t c : in_) {
      const bool symbol = text::is_symbol(c);
      if (symbol) utf8_.push_back(' ');
      text::append_utf8(utf8_, c);
      if (symbol) utf8_.push_back(' ');
    }
    text::split_words(utf8_, tokens);
  }

 private:
  std::u32string in_, out_;
  std::string utf8_;
};

}  // namespace

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t found = text.find(from);
  if (found == std::string::npos) return;
  std::string out;
  size_t begin = 0;
  for (; found != std::string::npos; found = text.find(from, begin)) {
    out.append(text, begin, found - begin).append(to);
    begin = found + from.size();
  }
  out.append(text, begin);
  text.swap(out);
}

void unescape_entities(std::string& text) {
  if (text.find('&') == std::string::npos) return;
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
}

void pad_western_punctuation(std::string_view text, std::string& out) {
  out.clear();
  for (const char c : text) {
    if (kWesternPunctuation[static_cast<unsigned char>(c)]) {
      out += {' ', c, ' '};
    } else {
      out.push_back(c);
    }
  }
}

// Bytes may stand for characters here: all that is compared is ASCII, and no byte of a longer sequence is a digit, a period or
// a dash.
void split_periods_and_dashes(std::string& text, std::string& scratch) {
  rewrite_pairs(
      text, scratch, [](char a, char b) { return is_period(b) && !is_digit(a); },
      [&](char a, char b) { scratch += {a, ' ', b, ' '}; });
  rewrite_pairs(
      scratch, text, [](char a, char b) { return is_period(a) && !is_digit(b); },
      [&](char a, char b) { text += {' ', a, ' ', b}; });
  rewrite_pairs(
      text, scratch, [](char a, char b) { return is_digit(a) && b == '-'; },
      [&](char a, char b) { scratch += {a, ' ', b, ' '}; });
  text.swap(scratch);
}

std::vector<std::string> tokenizer_names() { return {"13a", "intl", "char", "zh", "none"}; }

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
  if (name == "13a") return std::make_unique<Tokenizer13a>();
  if (name == "intl") return std::make_unique<IntlTokenizer>();
  if (name == "char") return std::make_unique<CharTokenizer>();
  if (name == "zh") return std::make_unique<ZhTokenizer>();
  if (name == "none") return std::make_unique<WhiteSpaceTokenizer>();
  fail_usage("unknown tokeniser '{}'; known: {}", name, join(tokenizer_names(), ", "));
}

}  // namespace seqmill::metric
