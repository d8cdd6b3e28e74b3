// Records with scores that people gave, and how a model's scores correlate with them.

#include <map>
#include <optional>

#include "base/error.h"
#include "base/strings.h"
#include "io/output.h"
#include "metric/correlation.h"
#include "metric/table.h"
#include "reward/answer_stream.h"
#include "reward/score_options.h"
#include "reward/score_writer.h"
#include "text/comparisons.h"

namespace seqmill::reward {
namespace {

/// Scores of the records that have a gold one, in their order.
struct Columns {
  std::string name;
  std::vector<double> gold, ours;
};

io::Json number(const std::optional<double>& value) { return value ? io::Json(*value) : io::Json(); }

io::Json report_of(const Columns& columns) {
  const metric::CorrelationSet set = metric::correlate(columns.ours, columns.gold);
  io::Json json = io::Json::object();
  json.set("n", static_cast<int64_t>(set.n));
  json.set("pearson", number(set.pearson.value));
  json.set("ci95", set.pearson_interval ? io::Json::list(std::vector<double>{set.pearson_interval->low, set.pearson_interval->high}) : io::Json());
  json.set("spearman", number(set.spearman.value));
  json.set("kendall", number(set.kendall.value));
  return json;
}

std::string text_of(const io::Json& report) {
  std::vector<std::vector<std::string>> rows{{"score", "n", "Pearson", "Spearman", "Kendall"}};
  for (const auto& [name, set] : report.at("correlations").as_object()) {
    std::vector<std::string> row{name, fmt::format("{}", set.at("n").as_int())};
    for (const char* key : {"pearson", "spearman", "kendall"}) row.push_back(set.at(key).is_null() ? "undefined" : fmt::format("{:.4f}", set.at(key).as_double()));
    rows.push_back(std::move(row));
  }
  return metric::format_table(rows);
}

class CorrelationStream final : public AnswerStream {
 public:
  CorrelationStream(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads)
      : AnswerStream(model, options, batch_tokens, threads), writer_(model, options), output_(options.output) {
    if (model.is_judge()) fail_usage("--correlate is for models that score each answer by itself; this one is a judge");
    if (!options.records.empty()) records_.emplace(options.records);
    // One of the model's scores, or all, each with that of the same name; or its reward with the one that was named.
    if (!options.gold.empty()) columns_ = {{options.gold, {}, {}}};
    else if (!options.aspect.empty()) columns_ = {{options.aspect, {}, {}}};
    else for (const std::string& aspect : model.aspects()) columns_.push_back({aspect, {}, {}});
  }

  void run() {
    read_all();
    if (counts_.answers == 0) fail("{}: there is no record to be scored", options_.input == "-" ? "standard input" : options_.input);
    io::Json correlations = io::Json::object(), report = io::Json::object();
    for (const Columns& columns : columns_) correlations.set(columns.name, report_of(columns));
    report.set("records", counts_.answers);
    report.set("correlations", std::move(correlations));
    report.set("left-out", counts_.skipped);
    output_.write(options_.json ? report.dump() + "\n" : text_of(report));
    if (records_) records_->close();
    output_.close();
    finish();
  }

 protected:
  void check(const infer::AnswerRecord& record) const override {
    if (record.answers != infer::Answers::kOne) fail("it has several answers; --correlate takes records of one, with a score");
    const std::map<std::string, double> gold = text::scores_of(record.record.json);
    bool found = false;
    for (const Columns& columns : columns_) found = found || gold.count(columns.name) > 0;
    if (!found) {
      std::vector<std::string> there, wanted;
      for (const auto& [name, score] : gold) there.push_back(name);
      for (const Columns& columns : columns_) wanted.push_back(columns.name);
      fail("it has scores of {}, expected one of {} (--gold names another)", join(there, ", "), join(wanted, ", "));
    }
    if (records_) writer_.check(record);
  }

  void put(infer::AnswerRecord& record, const AnswerScores& scores, size_t) override {
    const std::map<std::string, double> gold = text::scores_of(record.record.json);
    const bool one = columns_.size() == 1;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const auto found = gold.find(columns_[i].name);
      if (found == gold.end()) continue;
      columns_[i].gold.push_back(found->second);
      columns_[i].ours.push_back(one ? scores.rewards.at(0) : scores.values.at(i));
    }
    if (!records_) return;
    writer_.write(record, scores);
    records_->write(record.record.json.dump() + "\n");
  }

 private:
  ScoreWriter writer_;
  io::Output output_;
  std::optional<io::Output> records_;
  std::vector<Columns> columns_;
};

}  // namespace

void correlate_scores(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads) { CorrelationStream(model, options, batch_tokens, threads).run(); }

}  // namespace seqmill::reward
