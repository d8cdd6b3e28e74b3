#include "infer/generator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <exception>
#include <memory>

#include "base/error.h"
#include "base/signals.h"
#include "base/strings.h"
#include "base/team.h"
#include "base/threads.h"
#include "infer/beam_decoder.h"

namespace seqmill::infer {
namespace {

/// Where the first of some strings begins in a text that grows.
class StopStrings {
 public:
  explicit StopStrings(const std::vector<std::string>& strings) : strings_(strings) {
    for (const std::string& stop : strings_) longest_ = std::max(longest_, stop.size());
  }
  /// npos: none is in `text`, given that none was in its first `searched` bytes.
  size_t find(const std::string& text, size_t searched = 0) const {
    const size_t from = searched - std::min(searched, longest_ - std::min<size_t>(longest_, 1));
    size_t first = std::string::npos;
    for (const std::string& stop : strings_) first = std::min(first, text.find(stop, from));
    return first;
  }

 private:
  const std::vector<std::string>& strings_;
  size_t longest_ = 0;
};

bool contains(const std::vector<int32_t>& tokens, int32_t token) { return std::find(tokens.begin(), tokens.end(), token) != tokens.end(); }

}  // namespace

const char* finish_name(Finish finish) { return finish == Finish::kEnd ? "end" : finish == Finish::kStop ? "stop" : "length"; }

double Generated::mean() const {
  const size_t count = tokens.size() + (finish == Finish::kEnd ? 1 : 0);
  return count == 0 ? 0 : logprob / static_cast<double>(count);
}

void GeneratorOptions::declare(Options& options) {
  options.group("Generation");
  options.add("samples", samples, "Texts for each prompt, drawn independently; with --beam its best").range(1, int64_t{1} << 20);
  sampler.declare(options);
  options.add("max-new-tokens", max_new_tokens, "Cut off after this many tokens").range(1, int64_t{1} << 31);
  options.add("min-new-tokens", min_new_tokens, "Tokens before which the end token is not allowed").range(0, int64_t{1} << 31);
  options.add("stop", stop, "End before this string").placeholder("STRING");
  options.add("beam", beam, "Beam search for the most probable text with this many hypotheses; 1: none").range(1, int64_t{1} << 20);
  options.add("length-penalty", length_penalty, "What a beam ranks by: log-probability, per token, or as GNMT").one_of({"none", "average", "gnmt"});
  options.add("length-penalty-alpha", alpha, "Exponent of the length penalty").range(0);
  options.add("batch", batch, "Rows that a worker decodes at a time; changes speed and memory, not the result").range(1, int64_t{1} << 20);
}

void GeneratorOptions::check() const {
  sampler.check();
  if (min_new_tokens > max_new_tokens) fail_usage("--min-new-tokens {} is more than --max-new-tokens {}", min_new_tokens, max_new_tokens);
  if (std::find(stop.begin(), stop.end(), "") != stop.end()) fail_usage("--stop is empty; expected a string that ends the text");
  if (beam == 1) {
    if (sampler.temperature == 0 && samples > 1) fail_usage("--samples {} at --temperature 0 would all be the same", samples);
    if (length_penalty != "average" || alpha != 1) fail_usage("--length-penalty has no effect without --beam");
    return;
  }
  if (samples > beam) fail_usage("--samples {} is more than --beam {}: a beam ends with at most that many texts", samples, beam);
  const search::SamplerOptions plain;
  if (sampler.temperature != plain.temperature) fail_usage("--temperature has no effect with --beam");
  if (sampler.top_k != plain.top_k) fail_usage("--top-k has no effect with --beam");
  if (sampler.top_p != plain.top_p) fail_usage("--top-p has no effect with --beam");
  if (sampler.min_p != plain.min_p) fail_usage("--min-p has no effect with --beam");
  if (sampler.repetition_penalty != plain.repetition_penalty) fail_usage("--repetition-penalty has no effect with --beam");
  if (!stop.empty()) fail_usage("--stop has no effect with --beam");
}

GenerationPlan plan_generation(int64_t prompts, const GeneratorOptions& options, int threads) {
  const int64_t rows_of_prompt = options.beam > 1 ? options.beam : options.samples;
  GenerationPlan plan;
  plan.workers = prompts < 0 ? threads : std::clamp<int64_t>(prompts, 1, threads);
  plan.threads = threads / static_cast<int>(plan.workers);
  plan.rows = options.batch;
  if (prompts >= 0) {
    const int64_t share = (prompts + plan.workers - 1) / plan.workers;
    if (share < options.batch / rows_of_prompt) plan.rows = std::max<int64_t>(1, share * rows_of_prompt);
  }
  return plan;
}

/// What the workers of one run() share.
struct Generator::Call {
  Call(const GenerationPlan& plan, const Source& source, const Deliver& deliver) : plan(plan), source(source), deliver(deliver) {}
  const GenerationPlan& plan;
  const Source& source;
  const Deliver& deliver;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  std::mutex taking, delivering;
  std::atomic<bool> failed{false};  // by one of them: the others need not go on
};

/// One thread's share: a decoder and the requests under way in it.
class Generator::Worker {
 public:
  Worker(Generator& generator, Call& call)
      : generator_(generator), call_(call), options_(generator.options_), decoder_(generator.model_.start(call.plan.threads)) {}
  virtual ~Worker() = default;
  virtual void run() = 0;

 protected:
  Next take(GenerationRequest& request, bool may_wait) {
    std::unique_lock<std::mutex> lock(call_.taking, std::defer_lock);
    // Whoever holds it may be waiting for input.
    if (may_wait) lock.lock();
    else if (!lock.try_lock()) return Next::kLater;
    Next next = Next::kLater;
    do {
      if (call_.failed) return Next::kEnd;
      throw_if_stopped();
      next = call_.source(request, may_wait);
    } while (next == Next::kLater && may_wait);
    if (next == Next::kRequest) {
      ++generator_.counts_.prompts;
      generator_.counts_.prompt_tokens += static_cast<int64_t>(request.prompt.size());
    }
    return next;
  }

  void deliver(const GenerationRequest& request, std::vector<Generated> results) {
    for (const Generated& result : results) generator_.counts_.unfinished += result.finish == Finish::kLength ? 1 : 0;
    const std::lock_guard<std::mutex> lock(call_.delivering);
    call_.deliver(request, std::move(results));
  }

  void count_tokens(int64_t tokens) {
    throw_if_stopped();
    generator_.counts_.tokens += tokens;
    double none = -1;
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - call_.started).count();
    if (generator_.counts_.first_token < 0) generator_.counts_.first_token.compare_exchange_strong(none, now);
    if (!generator_.progress_) return;
    const std::unique_lock<std::mutex> lock(call_.delivering, std::try_to_lock);
    if (lock) generator_.progress_();
  }

  Generator& generator_;
  Call& call_;
  const GeneratorOptions& options_;
  const std::unique_ptr<SequenceDecoder> decoder_;
};

class Generator::SamplingWorker final : public Worker {
 public:
  SamplingWorker(Generator& generator, Call& call)
      : Worker(generator, call), sampler_(options_.sampler, generator.vocabulary_), stops_(options_.stop),
        vocabulary_(generator.model_.vocabulary_size()), scratch_(static_cast<size_t>(vocabulary_)) {}

  void run() override {
    while (!call_.failed) {
      fill();
      if (rows_.empty()) return;
      step();
    }
  }

 private:
  struct Prompt {
    GenerationRequest request;
    std::vector<Generated> results;
    int64_t begun = 0, ended = 0;
    SequenceDecoder::Handle root = 0;  // its sequence
    std::vector<float> logprobs;       // of what follows it
  };

  struct Row {
    Row(std::shared_ptr<Prompt> of, int64_t number, const Rng& stream) : prompt(std::move(of)), sample(number), rng(stream) {}
    std::shared_ptr<Prompt> prompt;
    int64_t sample;
    Rng rng;
    SequenceDecoder::Handle handle = 0;
    std::unique_ptr<search::SeenTokens> seen;  // null: without a penalty
    std::string bytes;                         // of its tokens one by one, where stop strings are looked for
    Generated result;
  };

  void fill() {
    while (static_cast<int64_t>(rows_.size()) < call_.plan.rows) {
      if (prompts_.empty() && !begin_prompts()) return;
      begin_sample();
    }
  }

  // As many as fill the free rows, short ones together.
  bool begin_prompts() {
    constexpr size_t kTokens = 512;  // more of them at once are no faster
    std::vector<std::shared_ptr<Prompt>> taken;
    size_t tokens = 0;
    for (int64_t free = call_.plan.rows - static_cast<int64_t>(rows_.size()); free > 0 && tokens < kTokens && !ended_ && !call_.failed;) {
      auto prompt = std::make_shared<Prompt>();
      const Next next = take(prompt->request, rows_.empty() && taken.empty());
      ended_ = next == Next::kEnd;
      if (next != Next::kRequest) break;
      free -= prompt->request.samples;
      tokens += prompt->request.prompt.size();
      taken.push_back(std::move(prompt));
    }
    begin(taken);
    return !prompts_.empty();
  }

  void begin(const std::vector<std::shared_ptr<Prompt>>& taken) {
    std::vector<SequenceDecoder::Beginning> beginnings;
    for (const std::shared_ptr<Prompt>& prompt : taken) {
      prompt->results.resize(static_cast<size_t>(prompt->request.samples));
      prompt->logprobs.resize(static_cast<size_t>(vocabulary_));
      beginnings.push_back({&prompt->request.prompt, prompt->logprobs.data()});
    }
    const std::vector<SequenceDecoder::Handle> roots = decoder_->begin_all(beginnings);
    for (size_t i = 0; i < taken.size(); ++i) {
      taken[i]->root = roots[i];
      prompts_.push_back(taken[i]);
    }
  }

  // The last sample goes on with the sequence of the prompt itself.
  void begin_sample() {
    const std::shared_ptr<Prompt> prompt = prompts_.front();
    Row row(prompt, prompt->begun, stream_of(prompt->request.number, prompt->begun));
    ++prompt->begun;
    if (options_.sampler.repetition_penalty != 1) {
      row.seen = std::make_unique<search::SeenTokens>(vocabulary_);
      for (const int32_t token : prompt->request.prompt) row.seen->add(token);
    }
    std::copy(prompt->logprobs.begin(), prompt->logprobs.end(), scratch_.begin());
    const bool goes_on = extend(row, scratch_.data());
    const bool is_last = prompt->begun == prompt->request.samples;
    if (goes_on) row.handle = is_last ? prompt->root : decoder_->branch(prompt->root);
    else if (is_last) decoder_->end(prompt->root);
    if (is_last) {
      std::vector<float>().swap(prompt->logprobs);
      prompts_.pop_front();
    }
    if (goes_on) rows_.push_back(std::move(row));
    else finish(row);
    count_tokens(1);
  }

  Rng stream_of(int64_t number, int64_t sample) const {
    const Rng stream(generator_.seed_, "sample", static_cast<uint64_t>(number));
    return sample == 0 ? stream : Rng(stream.key(), "sample", static_cast<uint64_t>(sample));
  }

  void step() {
    handles_.clear();
    tokens_.clear();
    for (const Row& row : rows_) {
      handles_.push_back(row.handle);
      tokens_.push_back(row.result.tokens.back());
    }
    float* logprobs = decoder_->advance(handles_, tokens_);
    std::vector<Row> alive;
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (extend(rows_[i], logprobs + static_cast<int64_t>(i) * vocabulary_)) {
        alive.push_back(std::move(rows_[i]));
      } else {
        decoder_->end(rows_[i].handle);
        finish(rows_[i]);
      }
    }
    count_tokens(static_cast<int64_t>(rows_.size()));
    rows_ = std::move(alive);
  }

  // Draws the next token. Returns false when the text ends with it, and why in its result.
  bool extend(Row& row, float* logprobs) {
    const GenerationRequest& request = row.prompt->request;
    Generated& result = row.result;
    if (options_.observe) result.observed.add(logprobs, generator_.vocabulary_);
    if (static_cast<int64_t>(result.tokens.size()) < request.min_new) {
      for (const int32_t end : generator_.ends_) logprobs[end] = -INFINITY;
    }
    if (row.seen) row.seen->penalise(logprobs, options_.sampler.repetition_penalty);
    const int32_t token = sampler_.draw(logprobs, row.rng, request.temperature.value_or(options_.sampler.temperature));
    if (row.seen) row.seen->restore(logprobs);
    if (token == search::kNotFinite) {
      fail("record {}: the model gave NaN or infinity as a log-probability of token {} behind the prompt: it has diverged or is broken", request.id,
           result.tokens.size() + 1);
    }
    if (token == search::kImpossible) return false;
    result.logprob += static_cast<double>(logprobs[token]);
    result.drawn_logprob += sampler_.drawn_logprob();
    if (contains(generator_.ends_, token)) {
      result.end = token;
      result.finish = Finish::kEnd;
      return false;
    }
    result.tokens.push_back(token);
    if (row.seen) row.seen->add(token);
    if (!options_.stop.empty()) {
      const size_t searched = row.bytes.size();
      row.bytes += generator_.tokenizer_.decode({token}, true);
      if (stops_.find(row.bytes, searched) != std::string::npos) {
        result.finish = Finish::kStop;
        return false;
      }
    }
    return static_cast<int64_t>(result.tokens.size()) < request.max_new;
  }

  void finish(Row& row) {
    Prompt& prompt = *row.prompt;
    std::string text = generator_.chat_.answer_text(prompt.request.prompt, row.result.tokens);
    // A template may leave out white space around an answer, with all of a stop string in it.
    if (row.result.finish == Finish::kStop) text.resize(std::min(text.size(), stops_.find(text)));
    row.result.text = replace_invalid_utf8(text);
    prompt.results[static_cast<size_t>(row.sample)] = std::move(row.result);
    if (++prompt.ended == prompt.request.samples) deliver(prompt.request, std::move(prompt.results));
  }

  search::Sampler sampler_;
  const StopStrings stops_;
  const int64_t vocabulary_;
  std::deque<std::shared_ptr<Prompt>> prompts_;  // computed, and their samples have not all begun
  std::vector<float> scratch_;
  std::vector<Row> rows_;
  std::vector<SequenceDecoder::Handle> handles_;
  std::vector<int32_t> tokens_;
  bool ended_ = false;
};

/// Takes as many prompts as fill its rows, and others when all these are done.
class Generator::BeamWorker final : public Worker {
 public:
  BeamWorker(Generator& generator, Call& call) : Worker(generator, call) {
    search_.beam = options_.beam;
    search_.n_best = options_.samples;
    search_.length_penalty = options_.length_penalty;
    search_.alpha = options_.alpha;
    search_.max_length = options_.max_new_tokens;
    search_.min_length = options_.min_new_tokens;
    // A prompt's own limit goes for the length of a source.
    search_.max_ratio = 1;
    search_.max_extra = 0;
  }

  void run() override {
    while (!call_.failed) {
      const std::vector<GenerationRequest> requests = take_batch();
      if (requests.empty()) return;
      search_for(requests);
    }
  }

 private:
  std::vector<GenerationRequest> take_batch() {
    std::vector<GenerationRequest> requests;
    const auto most = static_cast<size_t>(std::max<int64_t>(1, call_.plan.rows / options_.beam));
    GenerationRequest request;
    while (requests.size() < most && take(request, requests.empty()) == Next::kRequest) requests.push_back(std::move(request));
    return requests;
  }

  void search_for(const std::vector<GenerationRequest>& requests) {
    std::vector<const Tokens*> prompts;
    std::vector<search::SentenceInput> inputs;
    for (const GenerationRequest& request : requests) {
      prompts.push_back(&request.prompt);
      search::SentenceInput input;
      input.source_length = request.max_new;
      input.line = static_cast<uint64_t>(request.number);
      input.name = "record " + request.id;
      inputs.push_back(std::move(input));
    }
    BeamDecoder decoder(*decoder_, generator_.model_.vocabulary_size(), generator_.vocabulary_, generator_.ends_, prompts);
    const int32_t end = generator_.ends_[0];
    const auto found = search::search(decoder, inputs, end, end, search_, generator_.seed_);
    for (size_t i = 0; i < requests.size(); ++i) {
      std::vector<Generated> results;
      for (const search::Hypothesis& hypothesis : found[i]) {
        Generated result;
        result.tokens = hypothesis.tokens;
        result.text = replace_invalid_utf8(generator_.chat_.answer_text(requests[i].prompt, hypothesis.tokens));
        result.logprob = hypothesis.logprob;
        result.score = hypothesis.score;
        result.finish = hypothesis.finished ? Finish::kEnd : Finish::kLength;
        results.push_back(std::move(result));
      }
      const int64_t tokens = static_cast<int64_t>(results.empty() ? 0 : results[0].tokens.size());
      deliver(requests[i], std::move(results));
      count_tokens(tokens);
    }
  }

  search::SearchOptions search_;
};

Generator::Generator(const LanguageModel& model, const text::Tokenizer& tokenizer, const text::ChatTemplate& chat, const GeneratorOptions& options,
                     uint64_t seed)
    : model_(model), tokenizer_(tokenizer), chat_(chat), ends_(chat.ends()), options_(options), seed_(seed),
      vocabulary_(std::min<int64_t>(model.vocabulary_size(), tokenizer.size())) {
  options_.check();
  if (ends_.empty()) fail("no token ends a text of this model");
  for (const int32_t end : ends_) {
    if (end < 0 || end >= vocabulary_) fail("the end token {} is outside the vocabulary of {}", end, vocabulary_);
  }
}

void Generator::run(const GenerationPlan& plan, const Source& source, const Deliver& deliver) {
  Call call(plan, source, deliver);
  Team team(plan.workers, [&] { set_threads(plan.threads); });
  team.run([&](int64_t) {
    try {
      if (options_.beam > 1) BeamWorker(*this, call).run();
      else SamplingWorker(*this, call).run();
    } catch (...) {
      call.failed = true;
      throw;
    }
  });
}

}  // namespace seqmill::infer
