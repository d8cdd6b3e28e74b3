#include "metric/score_report.h"

#include <algorithm>

#include "base/strings.h"
#include "io/line_reader.h"
#include "metric/resample.h"
#include "metric/resample_report.h"
#include "metric/table.h"

namespace seqmill::metric {
namespace {

using Metrics = std::vector<std::unique_ptr<Metric>>;
using Lines = std::vector<std::string>;

// One system under one metric.
struct Result {
  LineStatistics statistics;
  std::vector<double> sums;
  std::vector<Bootstrap> intervals;  // without other systems, if asked for
  double lines() const { return static_cast<double>(statistics.lines()); }
};

struct System {
  std::string name;
  std::vector<Result> results;  // one per metric
};

struct Texts {
  Lines hypotheses;
  std::vector<Lines> references;
  std::vector<Lines> systems;
};

std::string readable(const std::string& path) { return path == "-" ? "standard input" : path; }

Lines read_aligned(const std::string& path, const Lines& hypotheses, const std::string& hypothesis_path) {
  Lines lines = io::read_lines(path);
  const size_t common = std::min(lines.size(), hypotheses.size());
  if (lines.size() != hypotheses.size()) {
    const bool shorter = lines.size() < hypotheses.size();
    fail("{}:{}: this line has no counterpart: {} has {} lines, {} has {}", readable(shorter ? hypothesis_path : path),
         common + 1, readable(path), lines.size(), readable(hypothesis_path), hypotheses.size());
  }
  return lines;
}

Texts read_texts(const ScoreOptions& options) {
  if (options.references.empty()) fail_usage("--ref is needed to score hypotheses");
  int on_stdin = options.hypotheses == "-";
  for (const auto* paths : {&options.references, &options.systems}) {
    for (const std::string& path : *paths) on_stdin += path == "-";
  }
  if (on_stdin > 1) fail_usage("standard input can be read once; give --hyp, --ref and --system different files");
  Texts texts;
  texts.hypotheses = io::read_lines(options.hypotheses);
  if (texts.hypotheses.empty()) fail("{}: the file is empty", readable(options.hypotheses));
  for (const auto& path : options.references) {
    texts.references.push_back(read_aligned(path, texts.hypotheses, options.hypotheses));
  }
  for (const auto& path : options.systems) texts.systems.push_back(read_aligned(path, texts.hypotheses, options.hypotheses));
  return texts;
}

System evaluate(const std::string& name, const Metrics& metrics, const Lines& hypotheses,
                const std::vector<Lines>& references) {
  System system{name, {}};
  for (const auto& metric : metrics) {
    Result result{count_lines(*metric, hypotheses, references), {}, {}};
    result.sums = result.statistics.sum();
    system.results.push_back(std::move(result));
  }
  return system;
}

io::Json result_json(const Metric& metric, const Result& result, size_t references, int64_t samples) {
  io::Json json = metric.report(result.sums.data(), result.lines());
  json.set("signature", metric.signature(references));
  if (result.intervals.empty()) return json;
  io::Json intervals;
  const auto names = metric.value_names();
  if (names.size() == 1) {
    intervals = bootstrap_json(result.intervals[0]);
  } else {
    for (size_t k = 0; k < names.size(); ++k) intervals.set(names[k], bootstrap_json(result.intervals[k]));
  }
  intervals.set("samples", samples);
  json.set("bootstrap", std::move(intervals));
  return json;
}

// The significance tests of one system against the baseline under one metric.
PairedTests compare(const Metric& metric, const Result& baseline, const Result& system, const ResampleOptions& options,
                    uint64_t seed) {
  PairedTests tests = run_paired_tests(sample_of(metric, baseline.statistics), sample_of(metric, system.statistics),
                                       metric.higher_is_better(), options, seed);
  tests.delta = metric.score(system.sums.data(), system.lines()) - metric.score(baseline.sums.data(), baseline.lines());
  return tests;
}

using Comparisons = std::vector<std::vector<PairedTests>>;  // [system][metric]

std::string json_text(const Metrics& metrics, const System& baseline, const std::vector<System>& systems,
                      const Comparisons& comparisons, const ResampleOptions& resample, size_t references) {
  io::Json json = io::Json::object();
  for (size_t m = 0; m < metrics.size(); ++m) {
    json.set(metrics[m]->key(), result_json(*metrics[m], baseline.results[m], references, resample.bootstrap));
  }
  if (systems.empty()) return json.dump() + '\n';
  io::Json list = io::Json::array();
  for (size_t s = 0; s < systems.size(); ++s) {
    io::Json entry;
    entry.set("system", systems[s].name);
    for (size_t m = 0; m < metrics.size(); ++m) {
      io::Json of_metric = metrics[m]->report(systems[s].results[m].sums.data(), systems[s].results[m].lines());
      add_paired_json(comparisons[s][m], resample, of_metric);
      entry.set(metrics[m]->key(), std::move(of_metric));
    }
    list.push_back(std::move(entry));
  }
  json.set("baseline", baseline.name);
  json.set("systems", std::move(list));
  return json.dump() + '\n';
}

std::string signatures(const Metrics& metrics, size_t references) {
  std::string text;
  for (const auto& metric : metrics) text += fmt::format("{}|{}\n", metric->name(), metric->signature(references));
  return text;
}

std::string score_text(const Metric& metric, const Result& result) {
  return fmt::format("{:.{}f}", metric.score(result.sums.data(), result.lines()), metric.decimals());
}

std::string score_table(const Metrics& metrics, const System& system) {
  std::vector<std::vector<std::string>> rows;
  for (size_t m = 0; m < metrics.size(); ++m) {
    const Result& result = system.results[m];
    std::vector<std::string> row{metrics[m]->name(), score_text(*metrics[m], result)};
    if (!result.intervals.empty()) row.push_back(interval_text(result.intervals.back(), metrics[m]->decimals()));
    row.push_back(metrics[m]->detail(result.sums.data(), result.lines()));
    rows.push_back(std::move(row));
  }
  return format_table(rows);
}

std::string comparison_table(const Metrics& metrics, const System& baseline, const std::vector<System>& systems,
                             const Comparisons& comparisons, const ResampleOptions& resample) {
  std::vector<std::vector<std::string>> rows{{"metric", "system", "score", "delta"}};
  add_paired_header(resample, rows[0]);
  for (size_t m = 0; m < metrics.size(); ++m) {
    rows.push_back({metrics[m]->name(), baseline.name, score_text(*metrics[m], baseline.results[m])});
    for (size_t s = 0; s < systems.size(); ++s) {
      const int decimals = metrics[m]->decimals();
      rows.push_back({metrics[m]->name(), systems[s].name, score_text(*metrics[m], systems[s].results[m]),
                      fmt::format("{:+.{}f}", comparisons[s][m].delta, decimals)});
      add_paired_cells(comparisons[s][m], resample, decimals, rows.back());
    }
  }
  return format_table(rows);
}

std::string sentence_text(const Metrics& metrics, const System& system, bool json) {
  std::string text;
  const size_t lines = system.results.front().statistics.lines();
  for (size_t line = 0; line < lines; ++line) {
    io::Json object;
    if (json) object.set("line", static_cast<int64_t>(line) + 1);
    for (size_t m = 0; m < metrics.size(); ++m) {
      const double* row = system.results[m].statistics.row(line);
      if (json) {
        object.set(metrics[m]->key(), metrics[m]->report(row, 1));
      } else {
        text += fmt::format("{}{:.4f}", m > 0 ? "\t" : "", metrics[m]->score(row, 1));
      }
    }
    if (json) text += object.dump();
    text += '\n';
  }
  return text;
}

Metrics make_metrics(const MetricSet& set, const ScoreOptions& options) {
  std::vector<std::string> names;
  for (const std::string& list : options.metrics) {
    for (const std::string& name : split(list, ',')) names.push_back(name);
  }
  return set.make(names);
}

}  // namespace

void ResampleOptions::declare(Options& options) {
  options.group("Resampling");
  options.add("bootstrap", bootstrap, "Resamples for intervals and paired tests; 0: none (with --system alone: 1000)")
      .range(0, 1e8);
  options.add("randomise", randomise, "Trials of the paired approximate randomisation test; 0: none").range(0, 1e8);
}

void ScoreOptions::declare(Options& options) {
  options.group("Scores");
  options.add("metric", metrics, fmt::format("What to compute, separated by commas: {}", join(MetricSet().metrics(), ", ")))
      .placeholder("NAMES");
  options.add("hyp", hypotheses, "Hypotheses, one per line; '-' is standard input").placeholder("FILE");
  options.add("ref", references, "References, aligned with the hypotheses; repeat for several").placeholder("FILE");
  options.add("system", systems, "Another system's output, tested against the hypotheses; repeatable").placeholder("FILE");
  options.add("sentence", by_sentence, "One result per line instead of one per file");
}

std::string score_report(const MetricSet& set, const ScoreOptions& options, const ResampleOptions& resample_options,
                         uint64_t seed, bool json) {
  const Metrics metrics = make_metrics(set, options);
  ResampleOptions resample = resample_options;
  const bool tests = resample.bootstrap > 0 || resample.randomise > 0;
  if (options.by_sentence && (tests || !options.systems.empty())) {
    fail_usage("--sentence goes with neither --system nor resampling");
  }
  if (options.systems.empty() && resample.randomise > 0) fail_usage("--randomise needs a --system to compare with");
  if (!options.systems.empty() && !tests) resample.bootstrap = 1000;

  const Texts texts = read_texts(options);
  System baseline = evaluate(readable(options.hypotheses), metrics, texts.hypotheses, texts.references);
  if (options.by_sentence) return sentence_text(metrics, baseline, json);
  for (size_t m = 0; m < metrics.size() && resample.bootstrap > 0; ++m) {
    Result& result = baseline.results[m];
    result.intervals = bootstrap(sample_of(*metrics[m], result.statistics), resample.bootstrap, seed);
  }
  std::vector<System> systems;
  Comparisons comparisons;
  for (size_t s = 0; s < texts.systems.size(); ++s) {
    systems.push_back(evaluate(readable(options.systems[s]), metrics, texts.systems[s], texts.references));
    comparisons.emplace_back();
    for (size_t m = 0; m < metrics.size(); ++m) {
      comparisons.back().push_back(compare(*metrics[m], baseline.results[m], systems[s].results[m], resample, seed));
    }
  }
  const size_t references = options.references.size();
  if (json) return json_text(metrics, baseline, systems, comparisons, resample, references);
  const std::string table = systems.empty() ? score_table(metrics, baseline)
                                            : comparison_table(metrics, baseline, systems, comparisons, resample);
  return table + signatures(metrics, references);
}

std::string token_report(const MetricSet& set, const ScoreOptions& options) {
  const Metrics metrics = make_metrics(set, options);
  if (metrics.size() != 1) fail_usage("--print-tokens needs exactly one --metric");
  std::string text;
  for (const std::string& line : io::read_lines(options.hypotheses)) {
    text += join(metrics.front()->tokens(line), " ") + '\n';
  }
  return text;
}

}  // namespace seqmill::metric
