#pragma once
// What a model says of the answers of a record, put into it.

#include <string>
#include <vector>

#include "infer/answer_records.h"
#include "io/json.h"
#include "reward/answer_scores.h"
#include "reward/score_options.h"

namespace seqmill::reward {

/// Nothing that is there is replaced. Model and options must outlive it.
class ScoreWriter {
 public:
  ScoreWriter(const RewardModel& model, const ScoreOptions& options);

  /// Throws Error when a record has already what is to come.
  void check(const infer::AnswerRecord& pending) const;
  void write(infer::AnswerRecord& pending, const AnswerScores& scores) const;

 private:
  void check_scores(const io::Json* scores, const std::string& whose) const;
  std::string key_of(const std::string& aspect) const { return name_ == "reward" ? aspect : name_ + "-" + aspect; }
  io::Json with_aspects(const io::Json* before, const AnswerScores& scores, size_t answer) const;
  void write_hypotheses(io::Json& record, const AnswerScores& scores) const;

  const std::vector<std::string>& aspects_;
  const std::string name_;
  const bool best_alone_, tells_best_;
};

}  // namespace seqmill::reward
