#pragma once
// What seq-eval prints about systems and references: scores, sentence scores, confidence intervals, significance tests.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "metric/metric.h"

namespace seqmill::metric {

/// How lines are resampled; 0 leaves a test out.
struct ResampleOptions {
  int64_t bootstrap = 0;
  int64_t randomise = 0;

  void declare(Options& options);
};

struct ScoreOptions {
  std::vector<std::string> metrics = {"bleu", "chrf", "ter"};  ///< each may list several, separated by commas
  std::string hypotheses = "-";       ///< the baseline when there are systems
  std::vector<std::string> references;
  std::vector<std::string> systems;   ///< compared with the hypotheses, each with each metric
  bool by_sentence = false;

  void declare(Options& options);
};

/// The whole output. JSON: one object, or one per line by sentence; else a table with signature lines, or by sentence the scores
/// separated by tabs. Files of different length, empty files: Error naming them.
std::string score_report(const MetricSet& set, const ScoreOptions& options, const ResampleOptions& resample, uint64_t seed,
                         bool json);

/// The tokens that the one metric asked for compares, joined by spaces, one line per line of the hypotheses.
std::string token_report(const MetricSet& set, const ScoreOptions& options);

}  // namespace seqmill::metric
