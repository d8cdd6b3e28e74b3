// Comparisons through a model, and how often it agrees.

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "io/output.h"
#include "metric/calibration.h"
#include "reward/pair_report.h"
#include "reward/score_options.h"

namespace seqmill::reward {
namespace {

struct Pending {
  text::Comparison comparison;
  std::vector<text::Preference> preferences;
};

class PairStream {
 public:
  PairStream(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads)
      : model_(model),
        scorer_(model, RankBy::kRoundRobin, options.aspect),
        options_(options),
        most_bytes_(bytes_of_turns(batch_tokens, threads)),
        threads_(threads),
        reader_(options.input, options.comparisons),
        output_(options.output) {
    if (!options.records.empty()) records_.emplace(options.records);
  }

  void run(const ReportOptions& report_options) {
    while (add()) {
      if (bytes_ >= most_bytes_) answer();
    }
    answer();
    if (verdicts_.empty()) fail("{}: there is no pair to be scored", options_.input == "-" ? "standard input" : options_.input);
    io::Json report = pair_report(verdicts_, report_options);
    report.set("left-out", reader_.counts().bad + counts_.skipped);
    report.set("undecided", reader_.counts().ties);
    output_.write(options_.json ? report.dump() + "\n" : pair_report_text(report));
    if (records_) records_->close();
    output_.close();
    log::status_line("");
    counts_.skipped += reader_.counts().bad;
    if (reader_.counts().ties > 0) log::info("{} comparisons prefer no answer and were left out", reader_.counts().ties);
    log_summary(counts_, counts_.pairs, "pairs", seconds());
  }

 private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count(); }

  bool add() {
    text::wait_for_input(reader_);
    Pending pending;
    if (!reader_.next(pending.comparison)) return false;
    pending.preferences = text::preferences_of(pending.comparison);
    keep_id(pending.comparison.json);
    for (const text::Message& message : pending.comparison.messages) bytes_ += static_cast<int64_t>(message.content.size());
    for (const std::string& response : pending.comparison.responses) bytes_ += static_cast<int64_t>(response.size());
    pending_.push_back(std::move(pending));
    return true;
  }

  /// Of the record nothing else is told, so that what waits takes hardly more memory than is counted.
  static void keep_id(io::Json& record) {
    io::Json kept = io::Json::object();
    if (const io::Json* id = record.find("id")) kept.set("id", *id);
    record = std::move(kept);
  }

  void answer() {
    if (model_.is_judge()) judge();
    else score();
    pending_.clear();
    bytes_ = 0;
    if (progress_.is_due(seconds())) progress_.show(fmt::format("{} pairs, {:.1f} a second", counts_.pairs, static_cast<double>(counts_.pairs) / seconds()));
  }

  void judge() {
    std::vector<Inquiry> inquiries;
    for (const Pending& pending : pending_) {
      inquiries.push_back({pending.comparison.messages, pending.comparison.responses});
      for (const text::Preference& preference : pending.preferences) inquiries.back().pairings.push_back({preference.better, preference.worse});
    }
    const std::vector<Outcome> outcomes = model_.ask(inquiries, threads_);
    for (size_t i = 0; i < pending_.size(); ++i) {
      if (!is_good(pending_[i], outcomes[i])) continue;
      for (size_t k = 0; k < pending_[i].preferences.size(); ++k) {
        const double score = pair_score(outcomes[i], k);
        // The other way round it is asked the same two questions.
        put(pending_[i], pending_[i].preferences[k], score, 1 - score, score, std::array<double, 2>{outcomes[i].values[2 * k], outcomes[i].values[2 * k + 1]});
      }
    }
  }

  void score() {
    std::vector<AnswerSet> sets;
    for (const Pending& pending : pending_) sets.push_back({pending.comparison.messages, pending.comparison.responses});
    const std::vector<AnswerScores> all = scorer_.score(sets, threads_);
    for (size_t i = 0; i < pending_.size(); ++i) {
      if (!is_good(pending_[i], all[i])) continue;
      for (const text::Preference& preference : pending_[i].preferences) {
        const double chosen = all[i].rewards[preference.better], rejected = all[i].rewards[preference.worse];
        put(pending_[i], preference, chosen, rejected, metric::sigmoid(chosen - rejected), {});
      }
    }
  }

  template <typename Result>
  bool is_good(const Pending& pending, const Result& result) {
    counts_.tokens += result.tokens;
    counts_.cut_prompts += result.cut_prompts;
    counts_.cut_answers += result.cut_answers;
    ++counts_.records;
    if (result.wrong.empty()) return true;
    if (!options_.comparisons.skip_bad) fail("{}: {}", pending.comparison.place, result.wrong);
    log::warn("left out: {}: {}", pending.comparison.place, result.wrong);
    ++counts_.skipped;
    return false;
  }

  void put(const Pending& pending, const text::Preference& preference, double chosen, double rejected, double probability,
           std::optional<std::array<double, 2>> orders) {
    const text::Comparison& comparison = pending.comparison;
    PairVerdict verdict;
    verdict.comparison = static_cast<size_t>(counts_.records);
    verdict.subset = comparison.subset;
    verdict.chosen_score = chosen;
    verdict.rejected_score = rejected;
    verdict.probability = probability;
    verdict.orders = orders;
    verdict.similar_length = text::similar_lengths(comparison.responses[preference.better], comparison.responses[preference.worse], options_.length_match);
    verdict.styles = comparison.styles;
    if (comparison.styles > 0) {
      verdict.chosen_style = static_cast<int64_t>(preference.better);
      verdict.rejected_style = static_cast<int64_t>(preference.worse) - comparison.styles;
    }
    ++counts_.pairs;
    if (records_) records_->write(record_of(comparison, preference, verdict).dump() + "\n");
    verdicts_.push_back(std::move(verdict));
  }

  static io::Json record_of(const text::Comparison& comparison, const text::Preference& preference, const PairVerdict& verdict) {
    io::Json record = io::Json::object();
    const io::Json* id = comparison.json.find("id");
    record.set("id", id ? *id : io::Json(comparison.id));
    if (!verdict.subset.empty()) record.set("subset", verdict.subset);
    record.set("chosen", static_cast<int64_t>(preference.better));
    record.set("rejected", static_cast<int64_t>(preference.worse));
    if (verdict.styles > 0) record.set("matrix_id", fmt::format("{}-{}", verdict.chosen_style, verdict.rejected_style));
    record.set("score_chosen", verdict.chosen_score);
    record.set("score_rejected", verdict.rejected_score);
    record.set("margin", verdict.margin());
    record.set("probability", verdict.probability);
    if (verdict.orders) record.set("orders", io::Json::list(*verdict.orders));
    record.set("correct", verdict.is_correct());
    record.set("similar-length", verdict.similar_length);
    return record;
  }

  const RewardModel& model_;
  const AnswerScorer scorer_;
  const ScoreOptions& options_;
  const int64_t most_bytes_;
  const int threads_;
  text::ComparisonReader reader_;
  io::Output output_;
  std::optional<io::Output> records_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  infer::Progress progress_{options_.progress};
  std::vector<Pending> pending_;
  int64_t bytes_ = 0;  // of their texts
  std::vector<PairVerdict> verdicts_;
  ScoreCounts counts_;
};

}  // namespace

void score_pairs(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, uint64_t seed, int threads) {
  PairStream(model, options, batch_tokens, threads).run({options.samples, seed});
}

}  // namespace seqmill::reward
