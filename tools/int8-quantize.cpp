// int8-quantize: makes a model of 8-bit integers from a trained one.

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/threads.h"
#include "cli/tool_main.h"
#include "infer/engine.h"
#include "infer/lm_engine.h"
#include "infer/quantise.h"
#include "infer/translator.h"
#include "io/directory.h"
#include "io/json.h"
#include "io/output.h"
#include "kernel/scale.h"
#include "metric/bleu.h"
#include "text/parallel_reader.h"

using namespace seqmill;

namespace {

struct Settings {
  std::string model, output, check_source, check_reference;
  bool json = false, ablate = false;
  infer::QuantiseOptions quantise;
  search::SearchOptions search;

  void declare(Options& options) {
    options.group("Model");
    options.add("model", model, "Model directory, checkpoint or run").placeholder("DIR").required();
    options.add("output", output, "Model directory to make; it must not exist").placeholder("DIR").required();
    quantise.declare(options);
    options.group("Report");
    options.add("json", json, "One JSON record per tensor instead of a table");
    options.add("check-src", check_source, "Translate this text with the float and the integer model and compare BLEU").placeholder("FILE");
    options.add("check-ref", check_reference, "Its references").placeholder("FILE");
    options.add("ablate", ablate, "With --check-src: BLEU with one module at a time in integers too");
    options.add("check-beam", search.beam, "Beam of these translations").range(1);
  }
};

std::string table_of(const std::vector<infer::TensorReport>& reports) {
  std::string text = fmt::format("{:<40} {:<18} {:>9} {:>9} {:>12} {:>12}\n", "tensor", "module", "error", "at limit", "bytes before", "bytes after");
  int64_t before = 0, after = 0;
  for (const infer::TensorReport& report : reports) {
    before += report.bytes_before;
    after += report.bytes_after;
    if (!report.quantised) continue;
    text += fmt::format("{:<40} {:<18} {:>9.5f} {:>9.5f} {:>12} {:>12}\n", report.name, report.module, report.error, report.at_limit,
                        report.bytes_before, report.bytes_after);
  }
  return text + fmt::format("{:<40} {:<18} {:>9} {:>9} {:>12} {:>12}\nratio {:.3f}\n", "all, with what stays", "", "", "", before, after,
                            static_cast<double>(before) / static_cast<double>(std::max<int64_t>(1, after)));
}

std::string records_of(const std::vector<infer::TensorReport>& reports) {
  std::string text;
  for (const infer::TensorReport& report : reports) {
    io::Json json = io::Json::object();
    json.set("tensor", report.name);
    json.set("module", report.module);
    json.set("quantised", report.quantised);
    json.set("error", report.error);
    json.set("at-limit", report.at_limit);
    json.set("bytes-before", report.bytes_before);
    json.set("bytes-after", report.bytes_after);
    text += json.dump() + "\n";
  }
  return text;
}

std::string text_of(const std::vector<std::pair<std::string, double>>& scores, bool as_json) {
  std::string text;
  for (const auto& [what, bleu] : scores) {
    if (as_json) {
      io::Json json = io::Json::object();
      json.set("integers", what);
      json.set("bleu", bleu);
      text += json.dump() + "\n";
    } else {
      text += fmt::format("BLEU with {} in integers: {:.2f} ({:+.2f})\n", what, bleu, bleu - scores[0].second);
    }
  }
  return text;
}

/// What the scales did while a text was translated in integers.
std::string text_of(const kernel::ScaleCounts& counts, bool as_json) {
  const double over = static_cast<double>(counts.over) / static_cast<double>(std::max<int64_t>(1, counts.sums));
  if (!as_json) {
    return fmt::format("matched scales: {} rows lost {:.2f} bits on average, {:.1f} at most\nsums: {} rows, {:.1f} % beyond the integers and re-scaled, the largest 2^{:.1f} (of 2^31)\n",
                       counts.matched, counts.lost_bits, counts.most_lost_bits, counts.sums, 100 * over, counts.largest_sum_bits);
  }
  io::Json json = io::Json::object();
  json.set("matched", counts.matched);
  json.set("lost-bits", counts.lost_bits);
  json.set("most-lost-bits", counts.most_lost_bits);
  json.set("sums", counts.sums);
  json.set("over", over);
  json.set("largest-sum-bits", counts.largest_sum_bits);
  return json.dump() + "\n";
}

/// What --check-src compares.
class Check {
 public:
  Check(const Settings& settings, int threads, uint64_t seed) : settings_(settings), threads_(threads), seed_(seed) {
    text::ParallelReader reader(settings.check_source, settings.check_reference);
    std::string source, reference;
    while (reader.next(source, reference)) {
      sources_.push_back(source);
      references_.push_back(reference);
    }
    if (sources_.empty()) fail("{} holds no line to check with", settings.check_source);
  }

  double bleu(const std::string& model) const {
    const infer::LoadedModel loaded = infer::load_in_engine(infer::ModelSource(model));
    infer::Translator translator({loaded.model.get()}, loaded.vocabularies, settings_.search, {}, threads_, seed_);
    std::vector<std::string> hypotheses;
    for (const auto& found : translator.translate(sources_)) hypotheses.push_back(found.empty() ? "" : found[0].text);
    return metric::corpus_score(*metric::make_bleu({}), hypotheses, {references_});
  }

  /// {what is in integers: BLEU}, the float model first.
  std::vector<std::pair<std::string, double>> scores(const std::vector<infer::TensorReport>& reports) const {
    std::vector<std::pair<std::string, double>> scores{{"nothing", bleu(settings_.model)}};
    kernel::watch_scales(true);
    scores.emplace_back("all", bleu(settings_.output));
    kernel::watch_scales(false);
    if (!settings_.ablate) return scores;
    for (const std::string& module : infer::modules_of_model()) {
      const auto has = [&](const infer::TensorReport& report) { return report.quantised && report.module == module; };
      if (std::none_of(reports.begin(), reports.end(), has)) continue;
      infer::QuantiseOptions options = settings_.quantise;
      options.modules = {module};
      const io::TemporaryDirectory place;
      infer::quantise_model(settings_.model, place / "model", options, seed_);
      scores.emplace_back(module, bleu(place / "model"));
      log::info("BLEU with {} in integers: {:.2f}", module, scores.back().second);
    }
    return scores;
  }

 private:
  const Settings& settings_;
  int threads_;
  uint64_t seed_;
  std::vector<std::string> sources_, references_;
};

void quantise(const Settings& settings, const cli::Invocation& call) {
  if (settings.check_source.empty() != settings.check_reference.empty()) fail_usage("--check-src and --check-ref belong together");
  if (!settings.check_source.empty() && infer::lm_engine_knows(infer::ModelSource(settings.model).config.type)) {
    fail_usage("--check-src compares translations, and {} is a language model; lm-score --perplexity tells what it lost", settings.model);
  }
  if (settings.ablate && settings.check_source.empty()) fail_usage("--ablate compares BLEU and needs --check-src and --check-ref");
  set_threads(call.threads);
  std::unique_ptr<Check> check;
  if (!settings.check_source.empty()) check = std::make_unique<Check>(settings, call.threads, call.seed);
  const std::vector<infer::TensorReport> reports = infer::quantise_model(settings.model, settings.output, settings.quantise, call.seed);
  io::Output out("-");
  out.write(settings.json ? records_of(reports) : table_of(reports));
  out.flush();
  if (check) {
    out.write(text_of(check->scores(reports), settings.json));
    if (settings.quantise.throughout()) out.write(text_of(kernel::scale_counts(), settings.json));
  }
  out.close();
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  cli::Tool tool;
  tool.name = "int8-quantize";
  tool.summary = "makes a model of 8-bit integers from a trained one, for nmt-translate and lm-generate on the CPU, and reports what each tensor lost.";
  tool.examples = {"int8-quantize --model runs/de-en --output models/de-en-int8",
                   "int8-quantize --model runs/de-en --output models/de-en-int8 --check-src test.de --check-ref test.en --ablate"};
  tool.declare = [&](Options& options) { settings.declare(options); };
  tool.run = [&](const cli::Invocation& call) { quantise(settings, call); };
  return cli::tool_main(argc, argv, tool);
}
