#pragma once
// The options of rm-score beside those of its model.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "infer/progress.h"
#include "reward/answer_scores.h"
#include "text/comparisons.h"

namespace seqmill::reward {

/// So many bytes of texts are read before all workers wait for the last one: four turns of each, of about four bytes a token.
inline int64_t bytes_of_turns(int64_t batch_tokens, int threads) { return 16 * batch_tokens * threads; }

struct ScoreOptions {
  std::string input = "-", output = "-";
  std::string name = "reward";  ///< of what is added to records
  std::string aspect;           ///< which of the model's scores is the reward; empty: the mean of all
  std::string rank;             ///< of a judge: one of rank_names(); empty: round-robin, or scan where the best alone is wanted
  bool serve = false;           ///< answer whenever no further record is waiting

  bool best_of_n = false;              ///< keep the best hypothesis alone
  std::vector<std::string> best_of;    ///< or tell what the best of so many is worth
  std::string gold;                    ///< by this score of the hypotheses, too; or with correlate the score that rewards are compared with

  bool correlate = false;  ///< records with scores, and how the model's correlate with them

  bool pairs = false;  ///< comparisons, and how often the model agrees
  text::ComparisonOptions comparisons;
  std::string records;         ///< where each pair's scores go, or with correlate each record's; empty: nowhere
  double length_match = 0.1;   ///< answers are similar in length when they differ by at most this share of the longer
  int64_t samples = 1000;
  bool json = false;           ///< results as one JSON object
  infer::ProgressStyle progress = infer::ProgressStyle::kNone;

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense.
  void check() const;
  /// How a judge's answers are ordered.
  RankBy ranking() const;
  /// Ascending; empty unless asked for.
  std::vector<int64_t> curve() const;
};

/// How far the work has come.
struct ScoreCounts {
  int64_t records = 0, answers = 0, pairs = 0, tokens = 0, cut_prompts = 0, cut_answers = 0, skipped = 0;
};

/// The line at the end, "N pairs of M tokens scored in S s: X pairs/s", and warnings about what was cut or left out.
void log_summary(const ScoreCounts& counts, int64_t items, const char* unit, double seconds);

/// Comparisons: writes the report of reward/pair_report.h.
void score_pairs(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, uint64_t seed, int threads);
/// Records: writes them with scores, or with the best hypothesis alone.
void score_records(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads);
/// Records of one answer with a "score" or "scores": writes how the model's correlate with them, {records, correlations: {name: {n, pearson, ci95, spearman, kendall}}, left-out}.
void correlate_scores(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads);
/// Hypotheses: writes what the best of the first n is worth.
void score_best_of(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, uint64_t seed, int threads);

}  // namespace seqmill::reward
