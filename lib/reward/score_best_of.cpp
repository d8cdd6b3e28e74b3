// Hypotheses through a model: what the best of the first n of each record is worth, for curves over n.

#include <algorithm>
#include <array>

#include "base/error.h"
#include "io/output.h"
#include "metric/resample.h"
#include "metric/table.h"
#include "reward/answer_stream.h"
#include "reward/best_of.h"
#include "reward/score_options.h"

namespace seqmill::reward {
namespace {

/// Names of what is told of each n, and one number of each record.
struct Column {
  std::string name;
  metric::LineStatistics values;
};

class BestOfStream final : public AnswerStream {
 public:
  BestOfStream(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads)
      : AnswerStream(model, options, batch_tokens, threads), counts_of_best_(options.curve()), output_(options.output) {
    std::vector<std::string> names{"reward"};
    if (!model.is_judge()) names.emplace_back("reward-any");
    if (!options.gold.empty()) {
      names.push_back(options.gold);
      if (!model.is_judge()) names.push_back(options.gold + "-any");
    }
    for (size_t i = 0; i < counts_of_best_.size(); ++i) {
      columns_.emplace_back();
      for (const std::string& name : names) columns_.back().push_back({name, {1, {}}});
    }
  }

  void run(uint64_t seed) {
    read_all();
    if (columns_[0][0].values.lines() == 0) fail("{}: there is no record with hypotheses", options_.input == "-" ? "standard input" : options_.input);
    const io::Json report = report_of(seed);
    output_.write(options_.json ? report.dump() + "\n" : text_of(report));
    output_.close();
    finish();
  }

 protected:
  void check(const infer::AnswerRecord& record) const override {
    if (record.answers != infer::Answers::kHypotheses) fail("it has no \"hypotheses\", which --best-of chooses from");
    const auto found = static_cast<int64_t>(record.record.responses.size());
    if (found < counts_of_best_.back()) fail("it has {} hypotheses, --best-of asks for the best of {}", found, counts_of_best_.back());
    if (!options_.gold.empty()) gold_of(record);
  }

  /// A judge's best are compared with the first of all.
  void see(const std::vector<AnswerSet>& sets, std::vector<AnswerScores>& all) override {
    if (!model_.is_judge()) return;
    std::vector<std::vector<size_t>> bests;
    for (const AnswerScores& scores : all) {
      bests.emplace_back();
      for (const int64_t n : counts_of_best_) {
        const size_t best = scores.wrong.empty() ? scores.best_of_first[static_cast<size_t>(n - 1)] : 0;
        if (best != 0) bests.back().push_back(best);
      }
    }
    against_first_ = scorer_.against_first(sets, bests, threads_);
    for (size_t i = 0; i < all.size(); ++i) {
      all[i].tokens += against_first_[i].tokens;
      if (all[i].wrong.empty()) all[i].wrong = against_first_[i].wrong;
    }
  }

  void put(infer::AnswerRecord& record, const AnswerScores& scores, size_t number) override {
    const std::vector<double> gold = options_.gold.empty() ? std::vector<double>() : gold_of(record);
    size_t met = 0;  // of the comparisons with the first
    for (size_t i = 0; i < counts_of_best_.size(); ++i) {
      const int64_t n = counts_of_best_[i];
      const size_t best = scores.best_of_first[static_cast<size_t>(n - 1)];
      std::vector<double> row;
      const auto add = [&](const std::vector<double>& values) {
        row.push_back(values[best]);
        if (!model_.is_judge()) row.push_back(best_of_any(scores.rewards, values, n));
      };
      if (model_.is_judge()) row.push_back(best == 0 ? 0.5 : against_first_[number].rewards[met++]);
      else add(scores.rewards);
      if (!gold.empty()) add(gold);
      for (size_t c = 0; c < row.size(); ++c) columns_[i][c].values.numbers.push_back(row[c]);
    }
  }

 private:
  std::vector<double> gold_of(const infer::AnswerRecord& record) const {
    std::vector<double> gold;
    for (const io::Json& hypothesis : record.record.json.at("hypotheses").as_array()) {
      const io::Json* scores = hypothesis.find("scores");
      const io::Json* value = scores && scores->is_object() ? scores->find(options_.gold) : nullptr;
      if (!value || !value->is_number()) fail("{}it has no score \"{}\" (--gold)", infer::name_of_answer(record.answers, gold.size()), options_.gold);
      gold.push_back(value->as_double());
    }
    return gold;
  }

  io::Json report_of(uint64_t seed) const {
    io::JsonArray curve;
    for (size_t i = 0; i < counts_of_best_.size(); ++i) {
      io::Json point = io::Json::object();
      point.set("n", counts_of_best_[i]);
      for (const Column& column : columns_[i]) {
        point.set(column.name, column.values.sum()[0] / static_cast<double>(column.values.lines()));
        const metric::Bootstrap interval = metric::bootstrap(metric::mean_of(column.values), options_.samples, seed).at(0);
        point.set(column.name + "-ci95", io::Json::list(std::array<double, 2>{interval.low, interval.high}));
      }
      curve.push_back(std::move(point));
    }
    io::Json report = io::Json::object();
    report.set("records", static_cast<int64_t>(columns_[0][0].values.lines()));
    report.set("curve", std::move(curve));
    return report;
  }

  static std::string text_of(const io::Json& report) {
    std::vector<std::vector<std::string>> table;
    for (const io::Json& point : report.at("curve").as_array()) {
      std::vector<std::string> head, row;
      for (const auto& [name, value] : point.as_object()) {
        if (value.is_array()) {
          head.insert(head.end(), {"low", "high"});
          for (const io::Json& end : value.as_array()) row.push_back(fmt::format("{:.4f}", end.as_double()));
        } else {
          head.push_back(name);
          row.push_back(value.is_int() ? fmt::format("{}", value.as_int()) : fmt::format("{:.4f}", value.as_double()));
        }
      }
      if (table.empty()) table.push_back(head);
      table.push_back(row);
    }
    return metric::format_table(table);
  }

  const std::vector<int64_t> counts_of_best_;
  io::Output output_;
  std::vector<std::vector<Column>> columns_;  // of each n
  std::vector<AnswerScores> against_first_;   // of this turn
};

}  // namespace

void score_best_of(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, uint64_t seed, int threads) {
  BestOfStream(model, options, batch_tokens, threads).run(seed);
}

}  // namespace seqmill::reward
