#include "infer/translate_stream.h"

#include <chrono>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "io/output.h"

namespace seqmill::infer {
namespace {

std::string record(int64_t id, const std::string& source, const std::vector<Translation>& translations,
                   const std::string& origin) {
  io::Json hypotheses = io::Json::array();
  for (const Translation& translation : translations) {
    io::Json scores = io::Json::object();
    scores.set("search", translation.score);
    io::Json item = io::Json::object();
    item.set("text", translation.text);
    item.set("logprob", translation.logprob);
    item.set("length", translation.length);
    item.set("origin", origin);
    item.set("scores", std::move(scores));
    hypotheses.push_back(std::move(item));
  }
  io::Json json = io::Json::object();
  json.set("id", id);
  json.set("source", source);
  json.set("hypotheses", std::move(hypotheses));
  return json.dump();
}

/// A second file read in step with the input.
class Companion {
 public:
  Companion(const std::string& path, const std::string& input) : reader_(path), input_(input) {}
  void take(std::vector<std::string>& lines) {
    std::string line;
    if (!reader_.next(line)) fail("{} ends after line {}, {} goes on", reader_.name(), reader_.line_number(), input_);
    lines.push_back(line);
  }
  void expect_end() {
    std::string line;
    if (reader_.next(line)) fail("{} ends before {}, which has a line {}", input_, reader_.name(), reader_.line_number());
  }

 private:
  io::LineReader reader_;
  std::string input_;
};

class Stream {
 public:
  Stream(Translator& translator, const StreamOptions& options)
      : translator_(translator), options_(options), reader_(options.input), output_(options.output) {
    if (!options.score.empty()) targets_.emplace(options.score, reader_.name());
    if (!options.prefix.empty()) prefixes_.emplace(options.prefix, reader_.name());
  }

  void run() {
    const auto started = std::chrono::steady_clock::now();
    if (options_.progress) show_progress(started);
    std::string line;
    while (reader_.next(line)) {
      lines_.push_back(line);
      if (targets_) targets_->take(target_lines_);
      if (prefixes_) prefixes_->take(prefix_lines_);
      const bool full = static_cast<int64_t>(lines_.size()) >= options_.window;
      if (full || (options_.stream && reader_.would_block())) answer();
    }
    if (targets_) targets_->expect_end();
    if (prefixes_) prefixes_->expect_end();
    answer();
    output_.close();
    log::status_line("");
    report(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }

 private:
  void show_progress(std::chrono::steady_clock::time_point started) {
    translator_.on_progress([this, started, shown = 0.0](int64_t lines) mutable {
      done_ += lines;
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
      if (seconds - shown < 0.5) return;
      shown = seconds;
      log::status_line(fmt::format("{} lines, {:.0f} a second", done_, static_cast<double>(done_) / seconds));
    });
  }

  void answer() {
    if (lines_.empty()) return;
    const std::vector<std::vector<Translation>> results = translate();
    for (size_t i = 0; i < lines_.size(); ++i) {
      const int64_t id = first_ + static_cast<int64_t>(i);
      if (options_.json || options_.n_best > 1) {
        output_.write(record(id, lines_[i], results[i], options_.origin) + "\n");
      } else if (targets_) {
        output_.write(fmt::format("{:.6f}\n", results[i][0].logprob));
      } else {
        output_.write((results[i].empty() ? "" : results[i][0].text) + "\n");
      }
    }
    output_.flush();
    first_ += static_cast<int64_t>(lines_.size());
    lines_.clear();
    target_lines_.clear();
    prefix_lines_.clear();
  }

  std::vector<std::vector<Translation>> translate() {
    if (!targets_) return translator_.translate(lines_, prefix_lines_, first_);
    std::vector<std::vector<Translation>> results;
    for (Translation& scored : translator_.score(lines_, target_lines_)) results.push_back({std::move(scored)});
    return results;
  }

  void report(double seconds) const {
    const TranslatorCounts& counts = translator_.counts();
    log::info("{} lines ({} empty), {} source and {} target tokens in {:.2f} s", counts.lines, counts.empty, counts.source_tokens,
              counts.target_tokens, seconds);
    if (counts.cut > 0) log::warn("{} lines were longer than --max-source and were cut", counts.cut);
    if (counts.unfinished > 0) log::warn("{} translations reached the length limit without an end", counts.unfinished);
  }

  Translator& translator_;
  StreamOptions options_;
  io::LineReader reader_;
  io::Output output_;
  std::optional<Companion> targets_, prefixes_;
  std::vector<std::string> lines_, target_lines_, prefix_lines_;
  int64_t first_ = 0, done_ = 0;
};

}  // namespace

void StreamOptions::declare(Options& options) {
  options.group("Input and output");
  options.add("input", input, "Source lines; -: standard input").placeholder("FILE");
  options.add("output", output, "Where translations go; -: standard output").placeholder("FILE");
  options.add("score", score, "Print the log-probability of these targets instead of translating").placeholder("FILE");
  options.add("prefix", prefix, "Forced beginnings of the translations, one per line").placeholder("FILE");
  options.add("json", json, "One JSON record per line, also without --n-best");
  options.add("stream", stream, "Answer each line as soon as no further one is waiting");
  options.add("window", window, "Lines read, sorted by length and translated together").range(1);
}

void StreamOptions::check() const {
  if (!score.empty() && !prefix.empty()) fail_usage("--score takes whole targets; --prefix has no effect with it");
  if (!score.empty() && n_best > 1) fail_usage("--score gives one number per line; --n-best has no effect with it");
  const int from_stdin = (input == "-") + (score == "-") + (prefix == "-");
  if (from_stdin > 1) fail_usage("only one of --input, --score and --prefix can be standard input ('-')");
}

void translate_stream(Translator& translator, const StreamOptions& options) { Stream(translator, options).run(); }

}  // namespace seqmill::infer
