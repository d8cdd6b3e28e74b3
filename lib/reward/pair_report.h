#pragma once
// How often a model prefers the answer that was preferred, and how far it can be believed.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"

namespace seqmill::reward {

/// What a model says of an answer that was preferred to another.
struct PairVerdict {
  size_t comparison = 0;  ///< the number of the comparison that it is of
  std::string subset;
  double chosen_score = 0, rejected_score = 0;
  double probability = 0;  ///< that the chosen one is better: of scores the logistic function of their difference
  std::optional<std::array<double, 2>> orders;  ///< of a judge: the same by each order of the two
  bool similar_length = false;
  int64_t styles = 0, chosen_style = 0, rejected_style = 0;  ///< text::Comparison

  double margin() const { return chosen_score - rejected_score; }
  bool is_correct() const { return chosen_score > rejected_score; }
  bool is_tie() const { return chosen_score == rejected_score; }
};

struct ReportOptions {
  int64_t samples = 1000;  ///< of the bootstrap, over comparisons
  uint64_t seed = 1;
};

/// {accuracy, ci95, n, comparisons, ties, margin, ece, brier; of a judge order-consistency; of RM-Bench easy, normal, hard, style-mean; length-matched: {accuracy, ci95, n}; risk-coverage:
/// {coverage, accuracy, area}; with more than one subset subset-mean and subsets: {name: the same without those}}. What is undefined is null. A tie is wrong.
io::Json pair_report(const std::vector<PairVerdict>& verdicts, const ReportOptions& options);
/// The same for people.
std::string pair_report_text(const io::Json& report);

/// Of each chosen style (row) and rejected style how often the chosen one wins, [styles, styles]: the mean below the diagonal, on it and above it (RM-Bench, Liu et al., 2024, section 3).
struct StyleAccuracy {
  double easy = 0, normal = 0, hard = 0;
};
StyleAccuracy style_accuracy(const std::vector<std::vector<double>>& wins);

}  // namespace seqmill::reward
