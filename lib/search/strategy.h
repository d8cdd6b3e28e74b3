#pragma once
// The strategies behind `search`, and what they share. All take checked inputs; the contract is that of `search`.

#include <cstdint>
#include <functional>
#include <vector>

#include "search/sampler.h"
#include "search/search.h"

namespace seqmill::search {

/// One call of `search`.
struct Task {
  StepDecoder& decoder;
  const std::vector<SentenceInput>& inputs;
  int32_t bos;
  int32_t eos;
  const SearchOptions& options;
  uint64_t seed;
};

using Results = std::vector<std::vector<Hypothesis>>;

Results greedy_search(const Task& task);
Results beam_search(const Task& task);
Results sampling_search(const Task& task);

/// Stops the search: the model's output is no distribution.
[[noreturn]] void fail_not_finite(const SentenceInput& input, int64_t step);

/// The next token, kImpossible when there is none, or kNotFinite; and with what log-probability it was chosen.
struct Choice {
  int32_t token;
  double logprob = 0;
};

/// Hypotheses that do not compete: copies[sentence] of them, one row each until its end. `choose(sentence, copy, logprobs)` leaves the row as it is.
using Choose = std::function<Choice(int64_t sentence, int64_t copy, const float* logprobs)>;
Results independent_search(const Task& task, const std::vector<int64_t>& copies, const Choose& choose);

}  // namespace seqmill::search
