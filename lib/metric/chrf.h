#pragma once
// chrF: F-score of character n-grams (Popović, 2015, "chrF: character n-gram F-score for automatic MT evaluation"); with word
// n-grams too, chrF+ and chrF++ (Popović, 2017). Rules for degenerate cases, several references and word splitting as in
// sacreBLEU 2.6.0: precision and recall are averaged over the orders that both sides have.

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "metric/metric.h"

namespace seqmill::metric {

struct ChrfOptions {
  int64_t char_order = 6;
  int64_t word_order = 0;      ///< 2 gives chrF++
  int64_t beta = 2;            ///< recall weighs beta times as much as precision
  bool whitespace = false;     ///< keep white space in character n-grams
  bool eps_smoothing = false;  ///< a tiny value for absent orders instead of leaving them out (chrF++.py, NLTK, Moses)
  bool lowercase = false;

  void declare(Options& options);
  size_t orders() const { return static_cast<size_t>(char_order + word_order); }
};

/// Words with one ASCII punctuation mark split off at the end or else at the beginning; the views point into `line`.
void split_chrf_words(std::string_view line, std::vector<std::string_view>& words);

/// 0..100 from `statistics`: per order the n-grams of the hypothesis, of the reference, and the matches.
double chrf_score(const double* statistics, const ChrfOptions& options);

std::unique_ptr<Metric> make_chrf(const ChrfOptions& options);

}  // namespace seqmill::metric
