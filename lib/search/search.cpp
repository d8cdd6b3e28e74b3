#include "search/search.h"

#include <algorithm>

#include "base/error.h"
#include "search/strategy.h"

namespace seqmill::search {
namespace {

// Below this the weights of all but the best tokens vanish in float: that is greedy search, and should be asked
// for as such.
constexpr double kLeastTemperature = 0.001;

void check_sampling(const SearchOptions& options) {
  if (options.temperature < kLeastTemperature) {
    fail_usage("--temperature is {}; the least value is {} (for the most probable token each time: --beam 1)",
               options.temperature, kLeastTemperature);
  }
  if (options.top_k < 0) fail_usage("--top-k is {}; expected 0 (all) or more", options.top_k);
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    fail_usage("--top-p is {}; expected more than 0 and at most 1", options.top_p);
  }
  if (!options.sample) {
    if (options.temperature != 1) fail_usage("--temperature has no effect without --sample");
    if (options.top_k != 0) fail_usage("--top-k has no effect without --sample");
    if (options.top_p != 1) fail_usage("--top-p has no effect without --sample");
  } else if (options.diverse_groups > 1) {
    fail_usage("--diverse-groups belongs to beam search and cannot be combined with --sample");
  }
}

void check_beam(const SearchOptions& options) {
  if (options.beam < 1) fail_usage("--beam is {}; expected 1 or more", options.beam);
  if (options.n_best < 1) fail_usage("--n-best is {}; expected 1 or more", options.n_best);
  if (!options.sample && options.n_best > options.beam) {
    fail_usage("--n-best {} is more than --beam {}: a beam ends with at most that many hypotheses", options.n_best,
               options.beam);
  }
  if (options.diverse_groups < 1) fail_usage("--diverse-groups is {}; expected 1 or more", options.diverse_groups);
  if (options.beam % options.diverse_groups != 0) {
    fail_usage("--beam {} cannot be divided into {} equal groups (--diverse-groups)", options.beam,
               options.diverse_groups);
  }
  if (!(options.diverse_strength >= 0)) {
    fail_usage("--diverse-strength is {}; expected 0 or more", options.diverse_strength);
  }
}

void check_lengths(const SearchOptions& options) {
  const std::string& penalty = options.length_penalty;
  if (penalty != "none" && penalty != "average" && penalty != "gnmt") {
    fail_usage("--length-penalty is '{}'; expected none, average or gnmt", penalty);
  }
  if (!(options.alpha >= 0)) fail_usage("--length-penalty-alpha is {}; expected 0 or more", options.alpha);
  if (options.min_length < 0) fail_usage("--min-length is {}; expected 0 or more", options.min_length);
  if (options.max_length < 0) fail_usage("--max-length is {}; expected 0 or more", options.max_length);
  if (options.min_length > options.max_length) {
    fail_usage("--min-length {} is more than --max-length {}", options.min_length, options.max_length);
  }
  if (!(options.max_ratio >= 0)) fail_usage("--max-ratio is {}; expected 0 or more", options.max_ratio);
  if (options.max_extra < 0) fail_usage("--max-extra is {}; expected 0 or more", options.max_extra);
}

std::string name_of(const SentenceInput& input) { return input.name.empty() ? fmt::format("line {}", input.line + 1) : input.name; }

void check_inputs(const Task& task) {
  const int64_t vocabulary = task.decoder.vocabulary_size();
  if (task.decoder.sentences() != static_cast<int64_t>(task.inputs.size())) {
    fail("search: {} inputs for a decoder of {} sentences", task.inputs.size(), task.decoder.sentences());
  }
  if (task.eos < 0 || task.eos >= vocabulary) {
    fail("search: the end symbol {} is outside the vocabulary of {}", task.eos, vocabulary);
  }
  for (const SentenceInput& input : task.inputs) {
    if (input.samples < 0 || (input.temperature != 0 && !(input.temperature >= kLeastTemperature))) {
      fail("{}: {} samples at temperature {}; expected 1 or more, at {} or more", name_of(input), input.samples, input.temperature, kLeastTemperature);
    }
    for (const int32_t token : input.prefix) {
      if (token < 0 || token >= vocabulary) {
        fail("{}: token {} of the forced prefix is outside the vocabulary of {}", name_of(input), token, vocabulary);
      }
      if (token == task.eos) fail("{}: the forced prefix contains the end symbol", name_of(input));
    }
  }
}

}  // namespace

void SearchOptions::declare(Options& options) {
  options.group("Search");
  options.add("beam", beam, "Rows that a beam keeps per sentence; 1 is greedy search").range(1);
  options.add("n-best", n_best, "Hypotheses per sentence; with --sample, independent samples").range(1);
  options.add("length-penalty", length_penalty, "What a log-probability is divided by to rank hypotheses")
      .one_of({"none", "average", "gnmt"});
  options.add("length-penalty-alpha", alpha, "Exponent of the length penalty; more means longer").range(0);
  options.add("min-length", min_length, "Target tokens before output may end").range(0);
  options.add("max-length", max_length, "Target tokens at which output is cut off").range(0);
  options.add("max-ratio", max_ratio, "Cut off also at this times the source tokens, plus --max-extra").range(0);
  options.add("max-extra", max_extra, "Target tokens allowed beyond --max-ratio").range(0);
  options.add("early-stop", early_stop, "End a sentence as soon as --beam hypotheses are finished");
  options.add("sample", sample, "Draw tokens at random instead of searching for the best");
  options.add("temperature", temperature, "With --sample: divides log-probabilities; below 1 is less varied")
      .range(kLeastTemperature);
  options.add("top-k", top_k, "With --sample: draw among this many most probable tokens; 0 is all").range(0);
  options.add("top-p", top_p, "With --sample: draw among the fewest tokens of this total probability")
      .range(0, 1);
  options.add("diverse-groups", diverse_groups, "Groups of the beam that avoid each other's tokens").range(1);
  options.add("diverse-strength", diverse_strength, "Cost of a token, each time an earlier group took it")
      .range(0);
}

void SearchOptions::check() const {
  check_sampling(*this);
  check_beam(*this);
  check_lengths(*this);
}

void fail_not_finite(const SentenceInput& input, int64_t step) {
  fail("{}: the model gave NaN or infinity as a log-probability of target token {}", name_of(input), step + 1);
}

std::vector<std::vector<Hypothesis>> search(StepDecoder& decoder, const std::vector<SentenceInput>& inputs,
                                            int32_t bos, int32_t eos, const SearchOptions& options,
                                            uint64_t seed) {
  options.check();
  const Task task{decoder, inputs, bos, eos, options, seed};
  check_inputs(task);
  if (options.sample) return sampling_search(task);
  return options.beam == 1 ? greedy_search(task) : beam_search(task);
}

}  // namespace seqmill::search
