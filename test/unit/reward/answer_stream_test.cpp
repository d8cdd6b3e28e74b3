#include "reward/answer_stream.h"

#include <catch2/catch.hpp>

#include "support/files.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::reward;
using namespace seqmill::test;

namespace {

/// The score of an answer is its length; of "nan" there is none.
class Lengths final : public RewardModel {
 public:
  bool is_judge() const override { return false; }
  const std::vector<std::string>& aspects() const override { return aspects_; }
  std::vector<Outcome> ask(const std::vector<Inquiry>& inquiries, int) const override {
    std::vector<Outcome> outcomes(inquiries.size());
    for (size_t i = 0; i < inquiries.size(); ++i) {
      for (const std::string& answer : inquiries[i].answers) {
        if (answer == "nan") outcomes[i].wrong = "no score";
        outcomes[i].values.push_back(static_cast<double>(answer.size()));
      }
      if (!outcomes[i].wrong.empty()) outcomes[i].values.clear();
    }
    return outcomes;
  }

 private:
  std::vector<std::string> aspects_{"score"};
};

/// Writes down what comes: ids of good records, "!" for bad ones, "|" for the end of a turn.
class Notes final : public AnswerStream {
 public:
  Notes(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens) : AnswerStream(model, options, batch_tokens, 1) {}
  void run() { read_all(); }
  std::string text;

 protected:
  void check(const infer::AnswerRecord& record) const override {
    if (record.record.id == "usage") fail_usage("no use");
  }
  void put(infer::AnswerRecord& record, const AnswerScores&, size_t) override { text += record.record.id; }
  void put_bad(const text::Record&, const std::string&) override { text += "!"; }
  void end_turn() override { text += "|"; }
};

std::string line(const std::string& id, const std::string& answer = "yes", const std::string& more = "") {
  return fmt::format(R"({{"id":"{}","prompt":"q","response":"{}","more":"{}"}})", id, answer, more) + "\n";
}

struct Result {
  std::string notes;
  Failure failure;
};

Result notes_of(const std::string& bytes, bool skip_bad, int64_t batch_tokens = 4096) {
  const TempDir dir;
  const Lengths model;
  ScoreOptions options;
  options.input = put(dir / "in", bytes);
  options.comparisons.skip_bad = skip_bad;
  Notes notes(model, options, batch_tokens);
  Result result;
  result.failure = failure_of([&] { notes.run(); });
  result.notes = notes.text;
  return result;
}

}  // namespace

TEST_CASE("good records before a bad one are answered", "[answer-stream]") {
  for (const std::string& bad : {std::string("no JSON\n"), line("x", "nan"), std::string("{\"id\":\"x\",\"prompt\":\"q\"}\n")}) {
    CAPTURE(bad);
    const Result stopped = notes_of(line("a") + line("b") + bad + line("c"), false);
    CHECK(stopped.notes == "ab|");
    CHECK((stopped.failure.exit_code == kExitFailure && stopped.failure.says("in:3")));
    const Result skipped = notes_of(line("a") + line("b") + bad + line("c"), true);
    CHECK(skipped.notes == "ab!c|");
    CHECK(skipped.failure.exit_code == 0);
  }
}

TEST_CASE("a file that ends too early ends the work, whether or not bad records are left out", "[answer-stream]") {
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += line(fmt::format("{},", i), fmt::format("{}", i * 7919));
  const std::string whole = gzip(lines);
  for (const bool skip_bad : {false, true}) {
    const Result result = notes_of(whole.substr(0, whole.size() / 2), skip_bad);
    CHECK((result.failure.exit_code == kExitFailure && result.failure.says("truncated")));
    CHECK(result.notes.find('!') == std::string::npos);
  }
}

TEST_CASE("what is wrong with more than a record is not left out with it", "[answer-stream]") {
  const Result result = notes_of(line("a") + line("usage") + line("b"), true);
  CHECK((result.failure.exit_code == kExitUsage && result.failure.says("in:2: record usage: no use")));
}

TEST_CASE("a turn is as long as its lines, bad ones too", "[answer-stream]") {
  // 16 bytes a token: two lines of a little more than half of that.
  const std::string more(300, 'x'), bad = "no JSON" + more + "\n";
  CHECK(notes_of(line("a", "yes", more) + line("b", "yes", more) + line("c", "yes", more), true, 40).notes == "ab|c|");
  CHECK(notes_of(bad + bad + bad + bad + line("a", "yes", more), true, 40).notes == "!!!|!a|");
  CHECK(notes_of(line("a") + line("b") + line("c"), true, 40).notes == "abc|");
}
