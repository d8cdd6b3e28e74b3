// Scores system output against references, compares systems, and relates columns of numbers and labels.

#include "base/error.h"
#include "cli/tool_main.h"
#include "io/output.h"
#include "metric/score_report.h"
#include "metric/statistics_report.h"

namespace {

using namespace seqmill;

struct SeqEval {
  metric::MetricSet metrics;
  metric::ScoreOptions score;
  metric::ResampleOptions resample;
  bool json = false, correlate = false, kappa = false, paired = false, print_tokens = false;
  std::string weights = "none", pass_at_k, input = "-";

  void declare(Options& options) {
    score.declare(options);
    options.add("json", json, "Print JSON instead of a table");
    options.add("print-tokens", print_tokens, "Print the tokens that the one --metric compares, and no score");
    metrics.declare(options);
    resample.declare(options);
    options.group("Columns of numbers and labels, instead of scores");
    options.add("correlate", correlate, "Correlations of two tab-separated columns; a third one names groups");
    options.add("paired", paired, "Paired tests on two tab-separated columns of scores: baseline, system");
    options.add("kappa", kappa, "Cohen's kappa of two tab-separated columns of labels");
    options.add("weights", weights, "How kappa weighs disagreement").one_of({"none", "linear", "quadratic"});
    options.add("pass-at-k", pass_at_k, "Unbiased pass@k from JSON lines {\"n\":..,\"c\":..} or {\"results\":[..]}")
        .placeholder("K,K..");
    options.add("input", input, "Where the columns come from; '-' is standard input").placeholder("FILE");
  }

  std::string report(uint64_t seed) const {
    const int modes = correlate + paired + kappa + print_tokens + !pass_at_k.empty();
    if (modes > 1) fail_usage("--correlate, --paired, --kappa, --pass-at-k and --print-tokens exclude each other");
    const bool columns = modes == 1 && !print_tokens;
    if (modes == 1 && !(score.references.empty() && score.systems.empty())) fail_usage("--ref and --system go with scores only");
    if (columns && score.hypotheses != "-") fail_usage("--hyp goes with scores; columns are read from --input");
    if (!columns && input != "-") fail_usage("--input goes with columns; hypotheses are read from --hyp");
    if (score.by_sentence && (modes == 1 && pass_at_k.empty())) fail_usage("--sentence goes with scores and --pass-at-k only");
    if (weights != "none" && !kappa) fail_usage("--weights goes with --kappa only");
    if (print_tokens && json) fail_usage("--print-tokens prints text, not --json");
    const bool resamples = resample.bootstrap > 0 || resample.randomise > 0;
    if (resamples && modes == 1 && !paired) fail_usage("--bootstrap and --randomise go with scores and --paired only");
    if (correlate) return metric::correlation_report(input, json);
    if (paired) return metric::paired_report(input, resample, seed, json);
    if (kappa) return metric::kappa_report(input, weights, json);
    if (!pass_at_k.empty()) return metric::pass_report(input, pass_at_k, score.by_sentence, json);
    if (print_tokens) return metric::token_report(metrics, score);
    return metric::score_report(metrics, score, resample, seed, json);
  }
};

}  // namespace

int main(int argc, char** argv) {
  SeqEval eval;
  cli::Tool tool;
  tool.name = "seq-eval";
  tool.summary =
      "scores text against references (BLEU, chrF, TER, ROUGE), tests whether systems differ, and computes correlations, "
      "kappa and pass@k.";
  tool.examples = {"seq-eval --metric bleu,chrf,ter --ref test.en < translations.en",
                   "seq-eval --metric bleu --ref test.en --hyp baseline.en --system new.en --bootstrap 1000",
                   "paste human.txt metric.txt | seq-eval --correlate --json"};
  tool.declare = [&](Options& options) { eval.declare(options); };
  tool.run = [&](const cli::Invocation& invocation) {
    io::Output output("-");
    output.write(eval.report(invocation.seed));
    output.close();
  };
  return cli::tool_main(argc, argv, tool);
}
