#pragma once
// Rewards of answers, and the best of them, whether a model scores each by itself or compares them in pairs.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "reward/reward_model.h"

namespace seqmill::reward {

/// How a judge's comparisons become an order of answers.
enum class RankBy {
  kRoundRobin,  ///< the mean score of each against all others
  kScan,        ///< reward/ranking.h
  kTournament,
  kReference    ///< the score of each against one that the set has
};

/// "round-robin", "scan", "tournament", "reference".
RankBy rank_by(const std::string& name);
std::vector<std::string> rank_names();

/// A prompt with answers that are to be scored.
struct AnswerSet {
  std::vector<text::Message> messages;
  std::vector<std::string> answers;
  std::optional<std::string> reference = {};  ///< what a judge compares each answer with, else with each other; or a metric
};

struct AnswerScores {
  /// [answers, aspects] of a model that scores; [answers] of a judge with kRoundRobin and kReference; else empty.
  std::vector<double> values;
  std::vector<double> rewards;  ///< one an answer: the chosen aspect, or the mean of all; of a judge `values`
  std::vector<size_t> best_of_first;  ///< of the first 1, 2 ... answers the best; of a judge with kTournament the best of all alone
  std::optional<double> best_score;   ///< reward of the best; with kScan and kTournament its mean score against those that it was compared with, none for a single answer
  std::string wrong;                  ///< why there is nothing else; else ""
  int64_t tokens = 0, cut_prompts = 0, cut_answers = 0;

  size_t best() const { return best_of_first.back(); }
};

class AnswerScorer {
 public:
  /// `aspect`: which is the reward; empty: the mean of all. Throws a usage error for one that the model has not. The model must outlive it.
  AnswerScorer(const RewardModel& model, RankBy by, const std::string& aspect);

  /// With so many threads; what one set gets does not depend on others.
  std::vector<AnswerScores> score(const std::vector<AnswerSet>& sets, int threads) const;
  /// Of a judge: `rewards` are the scores of these answers of each set against its first one.
  std::vector<AnswerScores> against_first(const std::vector<AnswerSet>& sets, const std::vector<std::vector<size_t>>& answers, int threads) const;

 private:
  std::vector<AnswerScores> score_each(const std::vector<AnswerSet>& sets, int threads) const;
  std::vector<AnswerScores> score_pairs(const std::vector<AnswerSet>& sets, int threads) const;
  AnswerScores choose(const AnswerSet& set, int threads) const;

  const RewardModel& model_;
  const RankBy by_;
  std::optional<size_t> aspect_;
};

/// Of a judge's outcome the score of a pairing: the mean over both orders (gram: r(a|b) = 1/2 [pi(A | a first) + pi(B | a second)]).
inline double pair_score(const Outcome& outcome, size_t pairing) { return (outcome.values[2 * pairing] + outcome.values[2 * pairing + 1]) / 2; }

}  // namespace seqmill::reward
