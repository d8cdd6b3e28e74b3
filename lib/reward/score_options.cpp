#include "reward/score_options.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"

namespace seqmill::reward {

void ScoreOptions::declare(Options& options) {
  options.group("Input and output");
  options.add("input", input, "Records, or with --pairs comparisons; -: standard input").placeholder("FILE");
  options.add("output", output, "Where results go; -: standard output").placeholder("FILE");
  options.group("Scores of records");
  options.add("name", name, "What rewards are called in records").placeholder("NAME");
  options.add("aspect", aspect, "Which of the model's scores is the reward; default: the mean of all").placeholder("NAME");
  options.add("rank", rank, "How a judge's answers get their order: each against all (the default), the best alone (scan, the default of --best-of-n, or tournament), each against the record's reference")
      .one_of(rank_names());
  options.add("serve", serve, "Answer whenever no further record is waiting, until the input ends");
  options.group("Best of n");
  options.add("best-of-n", best_of_n, "Keep the best hypothesis of each record alone");
  options.add("best-of", best_of, "Tell instead what the best of the first N hypotheses is worth, for each N").placeholder("N,N...");
  options.add("gold", gold, "With --best-of: also by this score of the hypotheses. With --correlate: the score of the records that the reward is compared with").placeholder("NAME");
  options.group("Scores that people gave");
  options.add("correlate", correlate, "Tell how the model's scores correlate with the \"score\" or \"scores\" of records");
  options.group("Comparisons");
  options.add("pairs", pairs, "Tell how often the model prefers what was preferred");
  options.add("records", records, "With --pairs: write the scores of every pair there; with --correlate the scored records").placeholder("FILE");
  options.add("length-match", length_match, "Answers are similar in length when they differ by at most this share of the longer").range(0, 1);
  options.add("bootstrap", samples, "Resamples for intervals").range(1, 1e7);
  options.add("json", json, "Print what --pairs, --best-of and --correlate tell as one JSON object");
  comparisons.declare(options);
}

void ScoreOptions::check() const {
  const auto refuse = [](bool given, const char* flag, const char* mode) {
    if (given) fail_usage("{} has no effect {}", flag, mode);
  };
  if (pairs + best_of_n + !best_of.empty() + correlate > 1) fail_usage("--pairs, --best-of-n, --best-of and --correlate exclude one another");
  if (pairs || correlate || !best_of.empty()) {
    const char* mode = pairs ? "with --pairs" : correlate ? "with --correlate" : "with --best-of";
    refuse(serve, "--serve", mode);
    refuse(name != "reward" && !(correlate && !records.empty()), "--name", mode);
  }
  refuse(pairs && !rank.empty(), "--rank", "with --pairs: each pair is compared");
  refuse(!gold.empty() && best_of.empty() && !correlate, "--gold", "without --best-of or --correlate");
  for (const char* taken : {"n", "reward", "reward-any", "reward-ci95", "reward-any-ci95"}) {
    if (gold == taken && !best_of.empty()) fail_usage("--gold {} is what the report calls something else; the score needs another name (rm-score --name gives one)", gold);
  }
  refuse(json && !pairs && best_of.empty() && !correlate, "--json", "without --pairs, --best-of or --correlate: records are JSON lines");
  refuse(!records.empty() && !pairs && !correlate, "--records", "without --pairs or --correlate");
  if (!pairs) {
    refuse(length_match != 0.1, "--length-match", "without --pairs");
    refuse(!comparisons.labels.empty(), "--labels", "without --pairs");
    refuse(!comparisons.fields.empty(), "--fields", "without --pairs");
  }
  if (!records.empty() && records == output && output != "-") fail_usage("--records and --output are the same file");
  if (records == "-") fail_usage("--records -: standard output is for the report; give a file");
  if (name.empty()) fail_usage("--name is empty");
  if (rank == "reference" && (best_of_n || !best_of.empty())) fail_usage("--rank reference is for scores; the best is found by round-robin, scan or tournament");
  if (!best_of.empty() && !rank.empty() && rank != "scan") fail_usage("--rank {}: with --best-of judges find the best of the first by scan", rank);
  curve();
}

RankBy ScoreOptions::ranking() const {
  if (!rank.empty()) return rank_by(rank);
  return best_of_n || !best_of.empty() ? RankBy::kScan : RankBy::kRoundRobin;
}

std::vector<int64_t> ScoreOptions::curve() const {
  std::vector<int64_t> counts;
  for (const std::string& list : best_of) {
    for (const std::string& text : split(list, ',')) {
      int64_t count = 0;
      if (!parse_int(text, count) || count < 1) fail_usage("--best-of {}: expected numbers from 1 on", list);
      counts.push_back(count);
    }
  }
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

void log_summary(const ScoreCounts& counts, int64_t items, const char* unit, double seconds) {
  log::info("{} {} of {} tokens scored in {:.2f} s: {:.1f} {}/s, {:.0f} tokens/s", items, unit, counts.tokens, seconds, static_cast<double>(items) / seconds, unit,
            static_cast<double>(counts.tokens) / seconds);
  if (counts.cut_prompts > 0) log::warn("{} prompts (or a judge's questions) were too long for the window and lost their beginning or the ends of their answers", counts.cut_prompts);
  if (counts.cut_answers > 0) log::warn("{} answers were too long for the window and lost their ends", counts.cut_answers);
  if (counts.skipped > 0) log::warn("{} bad records were left out (--skip-bad)", counts.skipped);
}

}  // namespace seqmill::reward
