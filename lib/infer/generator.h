#pragma once
// Continuous batching: prompts in, finished texts out. A row that has ended makes place at once for the next sample or prompt.

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "infer/language_model.h"
#include "search/sampler.h"
#include "search/search.h"
#include "text/chat.h"

namespace seqmill::infer {

enum class Finish { kEnd, kStop, kLength };
/// "end", "stop", "length"
const char* finish_name(Finish finish);

struct Generated {
  Tokens tokens;        ///< without the end token; with a stop string those up to and including the one that completed it
  std::string text;     ///< ends before a stop string; U+FFFD in place of bytes that are no whole character
  double logprob = 0;   ///< the model's own, without temperature, penalty and truncation; of `tokens`, and of the end token if reached
  double score = 0;     ///< of beam search: what it ranks by
  double drawn_logprob = 0;  ///< of samples: that of the distribution they were drawn from, with temperature, penalty and truncation
  int32_t end = -1;          ///< of samples: the end token that was reached
  search::StepStatistics observed = {};  ///< of samples, where that was asked for
  Finish finish = Finish::kLength;

  /// Per token that logprob is the sum of; 0 when there is none.
  double mean() const;
};

struct GenerationRequest {
  int64_t number = 0;      ///< its place in the input, from 0; selects its random numbers
  std::string id;          ///< names it in messages
  Tokens prompt;           ///< at least one token
  int64_t samples = 1;
  std::optional<double> temperature = {};  ///< of samples, instead of that of the options
  int64_t min_new = 0;     ///< tokens before which none ends it
  int64_t max_new = 1;     ///< >= 1; prompt and these together have positions in the model
};

struct GeneratorOptions {
  search::SamplerOptions sampler;
  int64_t samples = 1;          ///< of a prompt; with a beam its best
  int64_t max_new_tokens = 256, min_new_tokens = 0;
  int64_t batch = 32;           ///< rows of a worker; changes speed and memory, not the result
  int64_t beam = 1;             ///< more than 1: beam search
  std::string length_penalty = "average";  ///< of beam search: none, average, gnmt, as search::SearchOptions
  double alpha = 1;
  std::vector<std::string> stop;
  bool observe = false;  ///< of samples: how sure the model is, Generated::observed; not an option of the command line

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense.
  void check() const;
};

/// How the threads are divided.
struct GenerationPlan {
  int64_t workers = 1;
  int threads = 1;   ///< of each worker
  int64_t rows = 1;  ///< of each worker at a time
};
/// For so many prompts, or -1 for an unknown, large number: a worker a thread, but no more workers than prompts.
GenerationPlan plan_generation(int64_t prompts, const GeneratorOptions& options, int threads);

struct GeneratorCounts {
  std::atomic<int64_t> prompts{0}, prompt_tokens{0}, tokens{0}, unfinished{0};
  std::atomic<double> first_token{-1};  ///< seconds from the start of run() to the first token; < 0: there was none
};

/// What a source of requests may answer.
enum class Next { kRequest, kLater, kEnd };

class Generator {
 public:
  /// The model and the tokeniser must outlive the generator, as must the template, whose end tokens end a text.
  Generator(const LanguageModel& model, const text::Tokenizer& tokenizer, const text::ChatTemplate& chat, const GeneratorOptions& options, uint64_t seed);

  /// The next request. kLater: there is none yet; a source that may wait has waited for a while then, and is asked again unless another worker has failed.
  /// Called by one worker at a time.
  using Source = std::function<Next(GenerationRequest& request, bool may_wait)>;
  /// The texts of a request, samples in their order, a beam's best first. Called by one worker at a time, in no certain order of requests.
  using Deliver = std::function<void(const GenerationRequest& request, std::vector<Generated> results)>;

  /// Until the source ends. A result depends on its request, its number and the seed only: not on batches, workers or other requests. Sample s of a request
  /// draws from Rng(seed, "sample", number) for s = 0, else from Rng(<that stream's key>, "sample", s), as search() does.
  /// Throws Error naming the record when the model gives NaN, and when a signal has asked the process to stop.
  void run(const GenerationPlan& plan, const Source& source, const Deliver& deliver);

  const GeneratorCounts& counts() const { return counts_; }
  /// Called after steps, by one worker at a time, now and then.
  void on_progress(std::function<void()> progress) { progress_ = std::move(progress); }

 private:
  class Worker;
  class SamplingWorker;
  class BeamWorker;
  struct Call;

  const LanguageModel& model_;
  const text::Tokenizer& tokenizer_;
  const text::ChatTemplate& chat_;
  const std::vector<int32_t>& ends_;
  const GeneratorOptions options_;
  const uint64_t seed_;
  int64_t vocabulary_;  // tokens that can be drawn: a model may have more rows than its tokeniser has tokens
  GeneratorCounts counts_;
  std::function<void()> progress_;
};

}  // namespace seqmill::infer
