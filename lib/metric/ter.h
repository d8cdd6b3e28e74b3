#pragma once
// TER, the translation edit rate: insertions, deletions, substitutions and shifts of word blocks per reference word (Snover et
// al., 2006, "A Study of Translation Edit Rate with Targeted Human Annotation"). Finding the best shifts is NP-hard; which
// ones are tried, and in which order, is part of the metric. This follows Tercom as sacreBLEU 2.6.0 has it.

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "metric/metric.h"

namespace seqmill::metric {

struct TerOptions {
  bool normalized = false;      ///< split punctuation, undo XML entities
  bool no_punct = false;        ///< remove punctuation
  bool asian = false;           ///< split Chinese and Japanese characters; acts only with one of the two above
  bool case_sensitive = false;  ///< else text is lower-cased

  void declare(Options& options);
};

/// The tokens that Tercom's normaliser makes of `line`; they point into `buffer`.
void tokenize_ter(std::string_view line, const TerOptions& options, std::string& buffer,
                  std::vector<std::string_view>& tokens);

std::unique_ptr<Metric> make_ter(const TerOptions& options);

}  // namespace seqmill::metric
