#pragma once
// Porter's stemmer for English (Porter, 1980, "An algorithm for suffix stripping", Program 14(3)), with the departures that NLTK
// makes by default and that ROUGE with stemming is therefore computed with: a few irregular words, "ies"/"ied" in words of four
// letters, y to i only behind a consonant, "bli" for "abli", "fulli", "logi", and vowel-consonant as a short syllable.

#include <string>
#include <string_view>

namespace seqmill::metric {

/// The stem of a word of lower-case ASCII letters and digits. Words of one or two characters are their own stems.
std::string porter_stem(std::string_view word);

}  // namespace seqmill::metric
