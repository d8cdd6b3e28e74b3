#pragma once
// ROUGE (Lin, 2004, "ROUGE: A Package for Automatic Evaluation of Summaries") as Google's rouge-score computes it: ROUGE-N over
// n-grams, ROUGE-L over the longest common subsequence of a line, ROUGE-Lsum over the union of those between sentences. The
// corpus value is the mean over lines; with several references a line takes the one with the best F.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "metric/metric.h"

namespace seqmill::metric {

struct RougeOptions {
  bool stem = false;                     ///< Porter stems of words longer than three characters
  std::string sentence_separator = "<n>";  ///< ends a sentence within a line; "" for none

  void declare(Options& options);
};

/// Replaces `tokens` by the maximal runs of a-z and 0-9 in the lower-cased text, stemmed if asked.
void tokenize_rouge(std::string_view text, bool stem, std::vector<std::string>& tokens);

/// `type`: rouge1 .. rouge9, rougeL, rougeLsum.
std::unique_ptr<Metric> make_rouge(const std::string& type, const RougeOptions& options);

}  // namespace seqmill::metric
