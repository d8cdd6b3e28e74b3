#pragma once
// Records of answers read, scored in turns, and handed on in their order.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "infer/answer_records.h"
#include "reward/answer_scores.h"
#include "reward/score_options.h"
#include "text/records.h"

namespace seqmill::reward {

class AnswerStream {
 public:
  /// Model and options must outlive it.
  AnswerStream(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads);
  virtual ~AnswerStream() = default;

 protected:
  /// Until the input ends. Throws Error for a bad record, when those before it have been handed on; or with skip_bad counts it.
  void read_all();
  /// The summary.
  void finish() const;

  /// Throws Error for a record that cannot take scores.
  virtual void check(const infer::AnswerRecord& record) const = 0;
  /// One after another; `number`: of the sets of its turn.
  virtual void put(infer::AnswerRecord& record, const AnswerScores& scores, size_t number) = 0;
  /// For a record that was left out, in its place. Its JSON is null where it could not be read.
  virtual void put_bad(const text::Record&, const std::string&) {}
  virtual void end_turn() {}
  /// Of a turn that was scored, before any of it is handed on. May say what is wrong with one.
  virtual void see(const std::vector<AnswerSet>&, std::vector<AnswerScores>&) {}

  const RewardModel& model_;
  const AnswerScorer scorer_;
  const ScoreOptions& options_;
  const int threads_;
  ScoreCounts counts_;

 private:
  /// A record, good or not.
  struct Pending {
    infer::AnswerRecord record;
    AnswerSet set;
    text::Record original;
    std::string wrong;
  };

  /// Until it is time to answer; false at the end of the input.
  bool read_turn();
  bool add();
  AnswerSet set_of(const infer::AnswerRecord& record) const;
  void answer();
  void leave_out(Pending pending);
  double seconds() const;

  const int64_t most_bytes_;
  text::RecordReader reader_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  infer::Progress progress_;
  std::vector<Pending> pending_;
  int64_t bytes_ = 0;  // of their lines
};

}  // namespace seqmill::reward
