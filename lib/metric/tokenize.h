#pragma once
// Tokenisers that define a BLEU score. They behave as sacreBLEU 2.6.0 does (Post, 2018, "A Call for Clarity in Reporting BLEU
// Scores"), because a score is only comparable when they agree to the token.
//   13a   WMT's mteval-v13a: undoes four entities, splits ASCII punctuation, '.' and ',' beside a non-digit
//   intl  mteval-v14 international: splits by the general categories P, S and N
//   zh    isolates Chinese characters, then as 13a without the entities
//   char  every code point is a token
//   none  white space only

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace seqmill::metric {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Replaces `tokens` by those of `line`; the views live until the next call or until `line` ends, whichever is sooner.
  virtual void tokenize(std::string_view line, std::vector<std::string_view>& tokens) = 0;
};

/// Names in the order of the help text: 13a, intl, char, zh, none.
std::vector<std::string> tokenizer_names();
/// A tokeniser holds scratch memory: one per thread. Unknown names are usage errors.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);

/// Replaces every `from`, from left to right without overlap.
void replace_all(std::string& text, std::string_view from, std::string_view to);
/// Undoes &quot; &amp; &lt; &gt;, in this order: "&amp;lt;" becomes "<".
void unescape_entities(std::string& text);
/// Copies `text` into `out` with spaces around the ASCII punctuation that 13a and tercom split off: all but ' , - .
void pad_western_punctuation(std::string_view text, std::string& out);
/// Splits '.' and ',' off unless a digit stands before and after, and '-' off behind a digit. `scratch` is left with anything.
void split_periods_and_dashes(std::string& text, std::string& scratch);

}  // namespace seqmill::metric
