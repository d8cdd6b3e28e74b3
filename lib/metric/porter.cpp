#include "metric/porter.h"

#include <array>
#include <utility>

#include "base/strings.h"

namespace seqmill::metric {
namespace {

constexpr std::pair<std::string_view, std::string_view> kIrregular[] = {
    {"skies", "sky"},       {"sky", "sky"},         {"dying", "die"},       {"lying", "lie"},
    {"tying", "tie"},       {"news", "news"},       {"innings", "inning"},  {"inning", "inning"},
    {"outings", "outing"},  {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},       {"proceed", "proceed"}, {"exceed", "exceed"},   {"succeed", "succeed"}};

bool is_vowel_letter(char c) { return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u'; }

// A y is a consonant at the beginning and behind a vowel.
bool is_consonant(std::string_view word, size_t i) {
  if (is_vowel_letter(word[i])) return false;
  return word[i] != 'y' || i == 0 || !is_consonant(word, i - 1);
}

// m in [C](VC)^m[V]: how often a vowel is followed by a consonant.
int measure(std::string_view stem) {
  int count = 0;
  for (size_t i = 1; i < stem.size(); ++i) count += is_consonant(stem, i) && !is_consonant(stem, i - 1);
  return count;
}

bool contains_vowel(std::string_view stem) {
  for (size_t i = 0; i < stem.size(); ++i) {
    if (!is_consonant(stem, i)) return true;
  }
  return false;
}

bool ends_double_consonant(std::string_view word) {
  return word.size() >= 2 && word.back() == word[word.size() - 2] && is_consonant(word, word.size() - 1);
}

// *o: consonant, vowel, consonant other than w, x, y; or the whole word is vowel, consonant.
bool ends_short_syllable(std::string_view word) {
  const size_t n = word.size();
  if (n == 2) return !is_consonant(word, 0) && is_consonant(word, 1);
  return n >= 3 && is_consonant(word, n - 3) && !is_consonant(word, n - 2) && is_consonant(word, n - 1) &&
         word[n - 1] != 'w' && word[n - 1] != 'x' && word[n - 1] != 'y';
}

struct Rule {
  std::string_view suffix, replacement;
};

std::string_view without(std::string_view word, std::string_view suffix) { return word.substr(0, word.size() - suffix.size()); }

// Takes the first rule whose suffix fits, if the measure of what is left exceeds `minimum`; else leaves the word as it is.
template <size_t N>
std::string apply(const std::array<Rule, N>& rules, std::string_view word, int minimum) {
  for (const Rule& rule : rules) {
    if (!ends_with(word, rule.suffix)) continue;
    const std::string_view stem = without(word, rule.suffix);
    return measure(stem) > minimum ? std::string(stem).append(rule.replacement) : std::string(word);
  }
  return std::string(word);
}

std::string plurals(std::string_view word) {
  if (ends_with(word, "ies")) return std::string(without(word, word.size() == 4 ? "s" : "es"));
  if (ends_with(word, "sses")) return std::string(without(word, "es"));
  if (ends_with(word, "ss") || !ends_with(word, "s")) return std::string(word);
  return std::string(without(word, "s"));
}

std::string restore_ending(std::string_view stem) {
  if (ends_with(stem, "at") || ends_with(stem, "bl") || ends_with(stem, "iz")) return std::string(stem) + 'e';
  if (ends_double_consonant(stem)) {
    const char last = stem.back();
    return std::string(last == 'l' || last == 's' || last == 'z' ? stem : stem.substr(0, stem.size() - 1));
  }
  return measure(stem) == 1 && ends_short_syllable(stem) ? std::string(stem) + 'e' : std::string(stem);
}

std::string past_and_gerund(std::string_view word) {
  if (ends_with(word, "ied")) return std::string(without(word, word.size() == 4 ? "d" : "ed"));
  if (ends_with(word, "eed")) return std::string(measure(without(word, "eed")) > 0 ? without(word, "d") : word);
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (ends_with(word, suffix) && contains_vowel(without(word, suffix))) return restore_ending(without(word, suffix));
  }
  return std::string(word);
}

std::string final_y(std::string_view word) {
  const size_t n = word.size();
  if (n < 3 || word.back() != 'y' || !is_consonant(word, n - 2)) return std::string(word);
  return std::string(without(word, "y")) + 'i';
}

std::string double_suffixes(std::string_view word) {
  static constexpr std::array<Rule, 20> kRules = {{{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"},
      {"izer", "ize"}, {"bli", "ble"}, {"alli", "al"}, {"entli", "ent"}, {"eli", "e"}, {"ousli", "ous"}, {"ization", "ize"},
      {"ation", "ate"}, {"ator", "ate"}, {"alism", "al"}, {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"},
      {"aliti", "al"}, {"iviti", "ive"}, {"biliti", "ble"}}};
  // "alli" gives "al", which may end in another suffix of this step: "rationalli", "rational", "ration".
  if (ends_with(word, "alli") && measure(without(word, "alli")) > 0) return double_suffixes(without(word, "li"));
  if (ends_with(word, "fulli")) return std::string(measure(without(word, "fulli")) > 0 ? without(word, "li") : word);
  // The l counts as part of the stem, so that "geologi" loses its i as "archaeologi" does.
  if (ends_with(word, "logi")) return std::string(measure(without(word, "ogi")) > 0 ? without(word, "i") : word);
  return apply(kRules, word, 0);
}

std::string single_suffixes(std::string_view word) {
  static constexpr std::array<Rule, 7> kRules = {{{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
      {"ical", "ic"}, {"ful", ""}, {"ness", ""}}};
  return apply(kRules, word, 0);
}

std::string remaining_suffixes(std::string_view word) {
  static constexpr std::array<Rule, 18> kRules = {{{"al", ""}, {"ance", ""}, {"ence", ""}, {"er", ""}, {"ic", ""}, {"able", ""},
      {"ible", ""}, {"ant", ""}, {"ement", ""}, {"ment", ""}, {"ent", ""}, {"ou", ""}, {"ism", ""}, {"ate", ""}, {"iti", ""},
      {"ous", ""}, {"ive", ""}, {"ize", ""}}};
  if (ends_with(word, "ion")) {
    const std::string_view stem = without(word, "ion");
    const bool fits = measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't');
    return std::string(fits ? stem : word);
  }
  return apply(kRules, word, 1);
}

std::string tidy(std::string_view word) {
  if (ends_with(word, "e")) {
    const std::string_view stem = without(word, "e");
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_short_syllable(stem))) word = stem;
  }
  if (ends_with(word, "ll") && measure(without(word, "l")) > 1) word = without(word, "l");
  return std::string(word);
}

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const auto& [form, stem] : kIrregular) {
    if (word == form) return std::string(stem);
  }
  if (word.size() <= 2) return std::string(word);
  return tidy(remaining_suffixes(single_suffixes(double_suffixes(final_y(past_and_gerund(plurals(word)))))));
}

}  // namespace seqmill::metric
