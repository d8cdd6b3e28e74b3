// Records through a model: scores of their answers, or the best answer alone.

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "infer/answer_records.h"
#include "io/output.h"
#include "reward/answer_stream.h"
#include "reward/score_options.h"
#include "reward/score_writer.h"

namespace seqmill::reward {
namespace {

using infer::AnswerRecord;
using infer::Answers;

class RecordStream final : public AnswerStream {
 public:
  RecordStream(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads)
      : AnswerStream(model, options, batch_tokens, threads), writer_(model, options), output_(options.output) {}

  void run() {
    read_all();
    output_.close();
    finish();
  }

 protected:
  void check(const AnswerRecord& record) const override {
    if (options_.best_of_n && record.answers != Answers::kHypotheses) fail("it has no \"hypotheses\", which --best-of-n chooses from");
    writer_.check(record);
  }
  void put(AnswerRecord& record, const AnswerScores& scores, size_t) override {
    writer_.write(record, scores);
    output_.write(record.record.json.dump() + "\n");
  }
  void put_bad(const text::Record& record, const std::string& what) override {
    if (!options_.serve) return;
    // Whoever waits for an answer gets one.
    io::Json answer = io::Json::object();
    const io::Json* id = record.json.is_object() ? record.json.find("id") : nullptr;
    answer.set("id", id ? *id : io::Json());
    answer.set("error", what);
    output_.write(answer.dump() + "\n");
  }
  void end_turn() override { output_.flush(); }

 private:
  ScoreWriter writer_;
  io::Output output_;
};

}  // namespace

void score_records(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads) { RecordStream(model, options, batch_tokens, threads).run(); }

}  // namespace seqmill::reward
