#include "infer/generate_stream.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "infer/prompts.h"
#include "infer/resumed_output.h"
#include "io/line_reader.h"
#include "io/output.h"
#include "text/records.h"

namespace seqmill::infer {
namespace {

io::Json hypothesis(const Generated& generated, const std::string& origin, bool by_beam) {
  io::Json scores = io::Json::object();
  scores.set("mean", generated.mean());
  if (by_beam) scores.set("search", generated.score);
  io::Json json = io::Json::object();
  json.set("text", generated.text);
  json.set("logprob", generated.logprob);
  json.set("length", static_cast<int64_t>(generated.tokens.size()));
  json.set("origin", origin);
  json.set("finish", finish_name(generated.finish));
  json.set("scores", std::move(scores));
  return json;
}

struct Prompt {
  text::PromptRecord record;
  std::string place;  ///< for messages
};

class PromptSource {
 public:
  PromptSource(const std::string& path, const std::string& format) {
    if (format == "text") lines_.emplace(path, text::record_limits());
    else records_.emplace(path);
  }

  /// Nothing at the end. Throws Error for a bad record; the next call goes on behind it.
  std::optional<Prompt> next() {
    Prompt prompt;
    if (lines_) {
      std::string line;
      if (!lines_->next(line)) return std::nullopt;
      prompt.place = fmt::format("{}:{}", lines_->name(), lines_->line_number());
      if (line.empty()) fail("{}: the prompt is empty", prompt.place);
      prompt.record = text::plain_prompt(line, lines_->line_number());
    } else {
      text::Record record;
      if (!records_->next(record)) return std::nullopt;
      prompt.place = record.place;
      prompt.record = text::read_prompt(std::move(record), text::EmptyPrompts::kRefuse);
    }
    return prompt;
  }
  bool would_block() const { return lines_ ? lines_->would_block() : records_->would_block(); }
  /// Whether the next call of next() need not wait for more input; waits a moment for that.
  bool wait() const {
    constexpr int kMoment = 100;  // milliseconds
    if (would_block()) lines_ ? lines_->wait(kMoment) : records_->wait(kMoment);
    return !would_block();
  }
  const std::string& name() const { return lines_ ? lines_->name() : records_->name(); }

 private:
  std::optional<io::LineReader> lines_;
  std::optional<text::RecordReader> records_;
};

/// What the texts of a call depend on, for ResumedOutput.
io::Json call_of(const GeneratorOptions& generation, const GenerateStreamOptions& options, const std::string& chat, uint64_t seed) {
  io::Json call = io::Json::object();
  call.set("model", options.origin);
  call.set("samples", generation.samples);
  call.set("seed", fmt::format("{}", seed));
  call.set("chat", chat);
  call.set("format", options.format);
  call.set("truncate", options.truncate);
  for (const auto& [name, value] : options.computed_by) call.set(name, value);
  GeneratorOptions copy = generation;
  Options declared;
  copy.declare(declared);
  for (const auto& option : declared.all()) {
    const std::vector<std::string> values = option->values();
    if (option->key() == "samples" || option->key() == "batch") continue;
    call.set(option->key(), option->is_list() ? io::Json::list(values) : io::Json(values.at(0)));
  }
  return call;
}

/// Records in the order of the input, each written when all before it are.
class OrderedOutput {
 public:
  OrderedOutput(const GenerateStreamOptions& options, const io::Json& call, bool by_beam) : flushes_(options.stream) {
    if (options.resume) resumed_.emplace(options.output, call, by_beam);
    else output_.emplace(options.output);
  }

  /// Records of the input that a resumed file holds already: those before this number.
  int64_t done() const { return resumed_ ? resumed_->size() : 0; }
  ResumedOutput* resumed() { return resumed_ ? &*resumed_ : nullptr; }

  /// `place` counts the records from 0, those that were done before left out.
  void put(int64_t place, std::string record) {
    waiting_[place] = std::move(record);
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == next_; first = waiting_.erase(first), ++next_) {
      if (resumed_) resumed_->write(first->second);
      else output_->write(first->second);
    }
    if (output_ && flushes_) output_->flush();
  }

  void close() {
    if (resumed_) resumed_->close();
    else output_->close();
  }

 private:
  bool flushes_;
  std::optional<io::Output> output_;
  std::optional<ResumedOutput> resumed_;
  std::map<int64_t, std::string> waiting_;
  int64_t next_ = 0;
};

class Stream {
 public:
  Stream(const LoadedLanguageModel& model, const text::ChatTemplate& chat, const GeneratorOptions& generation, const GenerateStreamOptions& options, int threads,
         uint64_t seed)
      : model_(model), chat_(chat), generation_(generation), options_(options), threads_(threads),
        positions_(model.model->max_positions()), source_(options.input, options.format),
        generator_(*model.model, *model.tokenizer, chat, generation, seed), output_(options, call_of(generation, options, chat.name(), seed), generation.beam > 1),
        progress_(options.progress) {}

  void run() {
    started_ = std::chrono::steady_clock::now();
    if (options_.progress != ProgressStyle::kNone) generator_.on_progress([this] { show_progress(); });
    if (output_.resumed()) skip_done(*output_.resumed());
    generator_.run(plan(), [this](GenerationRequest& request, bool may_wait) { return next(request, may_wait); },
                   [this](const GenerationRequest& request, std::vector<Generated> results) { deliver(request, results); });
    output_.close();
    log::status_line("");
    report();
  }

 private:
  struct Job {
    GenerationRequest request;
    io::Json record;
    std::string place;
    int64_t length = 0;  // of the prompt, where it was cut
  };

  struct Open {
    io::Json record;
    int64_t place;
  };

  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count(); }

  // Numbers go on through the records that were done, so that samples are those of a call that was not interrupted.
  void skip_done(ResumedOutput& resumed) {
    const int64_t done = resumed.size();
    const auto next = [&] {
      std::optional<Job> job = next_job();
      if (job) return std::move(*job);
      fail("{} has {} records{}, and {} only {}: it is no beginning of what this call writes; name another --output, or leave --resume out to begin anew",
           options_.output, done, resumed.has_tail() ? " and the beginning of another" : "", source_.name(), number_);
    };
    for (; number_ < done; ++number_) {
      const Job job = next();
      resumed.check(number_, job.record, job.request.id, job.place);
    }
    if (resumed.has_tail()) {
      Job job = next();
      resumed.check_tail(job.record, job.place);
      ahead_.push_back(open(std::move(job)));
    }
    if (done > 0) {
      log::info("{} holds {} records already{}", options_.output, done,
                resumed.knows_call() ? "" : fmt::format("; there is no {}.resume that tells with which options they were made", options_.output));
    }
    resumed.begin();
  }

  // A call that need not answer at once reads as many prompts as its batches hold, to see whether there are so many.
  GenerationPlan plan() {
    if (options_.stream) {
      GenerationPlan plan = plan_generation(1, generation_, threads_);
      plan.rows = generation_.batch;
      return plan;
    }
    const int64_t rows = generation_.beam > 1 ? generation_.beam : generation_.samples;
    const auto enough = static_cast<size_t>(threads_ * std::max<int64_t>(1, generation_.batch / rows));
    GenerationRequest request;
    while (ahead_.size() < enough && read(request)) ahead_.push_back(std::move(request));
    return plan_generation(ahead_.size() < enough ? static_cast<int64_t>(ahead_.size()) : -1, generation_, threads_);
  }

  Next next(GenerationRequest& request, bool may_wait) {
    if (!ahead_.empty()) {
      request = std::move(ahead_.front());
      ahead_.pop_front();
      return Next::kRequest;
    }
    if (may_wait ? !source_.wait() : source_.would_block()) return Next::kLater;
    return read(request) ? Next::kRequest : Next::kEnd;
  }

  bool read(GenerationRequest& request) {
    std::optional<Job> job = next_job();
    if (!job) return false;
    request = open(std::move(*job));
    return true;
  }

  // Its request, from now on under way.
  GenerationRequest open(Job job) {
    if (job.length > 0) {
      ++truncations_;
      if (job.length > longest_cut_) {
        longest_cut_ = job.length;
        longest_kept_ = static_cast<int64_t>(job.request.prompt.size());
      }
    }
    if (job.record.find("hypotheses")) ++replaced_;
    const std::lock_guard<std::mutex> lock(mutex_);
    open_[job.request.number] = {std::move(job.record), job.request.number - output_.done()};
    ++number_;
    return std::move(job.request);
  }

  // Nothing at the end of the input.
  std::optional<Job> next_job() {
    while (true) {
      try {
        // Not in the reader, where no signal is heard.
        while (!source_.wait()) throw_if_stopped();
        std::optional<Prompt> prompt = source_.next();
        if (!prompt) return std::nullopt;
        return job_of(std::move(*prompt));
      } catch (const Error& error) {
        if (!options_.skip_bad) throw;
        log::warn("left out: {}", error.what());
        ++skipped_;
      }
    }
  }

  Job job_of(Prompt prompt) {
    Job job;
    job.request.number = number_;
    job.request.id = prompt.record.id;
    job.request.samples = generation_.samples;
    try {
      job.request.prompt = chat_.prompt(prompt.record.messages);
      job.length = fit(job.request);
      check_length(static_cast<int64_t>(job.request.prompt.size()) + job.request.max_new);
    } catch (const Error& error) {
      fail("{}: {}", prompt.place, error.what());
    }
    job.record = std::move(prompt.record.json);
    job.place = std::move(prompt.place);
    return job;
  }

  // How long the prompt was, if it was cut.
  int64_t fit(GenerationRequest& request) const {
    if (request.prompt.empty()) fail("the prompt has no tokens");
    const int64_t least = std::max<int64_t>(1, generation_.min_new_tokens), room = positions_ - least;
    const auto before = static_cast<int64_t>(request.prompt.size());
    const bool is_cut = options_.truncate == "left" && room > 0 && cut_left(request.prompt, room, model_.tokenizer->bos());
    const auto tokens = static_cast<int64_t>(request.prompt.size());
    if (tokens > room) {
      fail("the prompt has {} tokens, and the model positions for {}, of which {} for what is new{}", tokens, positions_, least,
           room > 0 ? "; --truncate left keeps its last tokens" : " (--min-new-tokens)");
    }
    request.max_new = std::min(generation_.max_new_tokens, positions_ - tokens);
    request.min_new = generation_.min_new_tokens;
    return is_cut ? before : 0;
  }

  void check_length(int64_t tokens) {
    if (tokens <= longest_) return;
    if (options_.check_length) options_.check_length(tokens);
    longest_ = tokens;
  }

  void deliver(const GenerationRequest& request, const std::vector<Generated>& results) {
    Open open = take(request.number);
    io::Json hypotheses = io::Json::array();
    for (const Generated& generated : results) hypotheses.push_back(hypothesis(generated, options_.origin, generation_.beam > 1));
    open.record.set("hypotheses", std::move(hypotheses));
    output_.put(open.place, open.record.dump() + "\n");
    ++written_;
  }

  Open take(int64_t number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto node = open_.extract(number);
    return std::move(node.mapped());
  }

  void show_progress() {
    const double now = seconds();
    if (progress_.is_due(now)) progress_.show(fmt::format("{} prompts, {:.0f} tokens a second", written_, static_cast<double>(generator_.counts().tokens) / now));
  }

  void report() const {
    const GeneratorCounts& counts = generator_.counts();
    const double time = seconds();
    log::info("{} prompts of {} tokens, {} tokens generated in {:.2f} s: {:.1f} tokens/s, {:.2f} prompts/s{}", counts.prompts.load(), counts.prompt_tokens.load(),
              counts.tokens.load(), time, static_cast<double>(counts.tokens) / time, static_cast<double>(counts.prompts) / time,
              counts.first_token < 0 ? "" : fmt::format(", the first after {:.3f} s", counts.first_token.load()));
    if (counts.unfinished > 0) log::info("{} texts reached the length limit without an end", counts.unfinished.load());
    if (truncations_ > 0) {
      log::warn("{} prompts were too long and lost their first tokens (--truncate left); the longest had {} tokens and keeps {}, of {} positions", truncations_,
                longest_cut_, longest_kept_, positions_);
    }
    if (replaced_ > 0) log::warn("{} records had hypotheses already, which were replaced", replaced_);
    if (skipped_ > 0) log::warn("{} bad records were left out (--skip-bad)", skipped_);
  }

  const LoadedLanguageModel& model_;
  const text::ChatTemplate& chat_;
  const GeneratorOptions& generation_;
  const GenerateStreamOptions& options_;
  const int threads_;
  const int64_t positions_;
  PromptSource source_;
  Generator generator_;
  OrderedOutput output_;
  Progress progress_;
  std::chrono::steady_clock::time_point started_;
  std::deque<GenerationRequest> ahead_;
  std::mutex mutex_;               // of open_: requests are taken by one worker at a time and delivered by one, which may be two
  std::map<int64_t, Open> open_;   // under way, by their numbers
  int64_t number_ = 0, written_ = 0, truncations_ = 0, replaced_ = 0, skipped_ = 0;
  int64_t longest_ = 0;                         // sequence so far, with all that may be new
  int64_t longest_cut_ = 0, longest_kept_ = 0;  // tokens of the longest prompt that was cut
};

}  // namespace

void GenerateStreamOptions::declare(Options& options) {
  options.group("Input and output");
  options.add("input", input, "Prompts; -: standard input").placeholder("FILE");
  options.add("output", output, "Where records go; -: standard output").placeholder("FILE");
  options.add("format", format, "Records {id, prompt}, or lines that are prompts").one_of({"jsonl", "text"});
  options.add("truncate", truncate, "Prompts too long for the model: an error, or cut on the left").one_of({"none", "left"});
  options.add("resume", resume, "Go on with an --output that was not completed");
  options.add("stream", stream, "Write each record at once, and wait for no further prompts");
  options.add("skip-bad", skip_bad, "Leave bad records out, and count them, instead of stopping");
}

void GenerateStreamOptions::check() const {
  if (resume && output == "-") fail_usage("--resume needs an --output file to go on with");
}

void generate_stream(const LoadedLanguageModel& model, const text::ChatTemplate& chat, const GeneratorOptions& generation,
                     const GenerateStreamOptions& options, int threads, uint64_t seed) {
  options.check();
  const int64_t choices = std::min<int64_t>(model.model->vocabulary_size(), model.tokenizer->size());
  if (generation.beam > choices) fail_usage("--beam {} is more than the {} tokens that the model chooses from", generation.beam, choices);
  Stream(model, chat, generation, options, threads, seed).run();
}

}  // namespace seqmill::infer
