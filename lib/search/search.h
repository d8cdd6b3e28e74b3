#pragma once
// Greedy, beam and sampling search, written once over StepDecoder.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "search/step_decoder.h"

namespace seqmill::search {

struct SearchOptions {
  int64_t beam = 5;                      ///< 1: greedy
  int64_t n_best = 1;
  std::string length_penalty = "average";  ///< none, average: logprob / length^alpha, gnmt: logprob / ((5 + length) / 6)^alpha (Wu et al., 2016, eq. 14)
  double alpha = 1.0;
  int64_t min_length = 0;                ///< target tokens before the end symbol is allowed
  int64_t max_length = 256;              ///< hard limit of target tokens
  double max_ratio = 2.0;                ///< and max_ratio * source tokens + max_extra
  int64_t max_extra = 20;
  bool sample = false;
  double temperature = 1.0;
  int64_t top_k = 0;                     ///< 0: all
  double top_p = 1.0;
  int64_t diverse_groups = 1;            ///< diverse beam search (Vijayakumar et al., 2018): groups of beam/groups
  double diverse_strength = 0.5;

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense (n-best above the beam, groups that do not divide the beam, ...).
  void check() const;
};

struct Hypothesis {
  std::vector<int32_t> tokens;  ///< without begin and end symbols; a forced prefix is included
  double logprob = 0;           ///< natural log of the model's probability, end symbol included when it was reached
  double score = 0;             ///< logprob after the length penalty: what hypotheses are ranked by
  bool finished = true;         ///< false: cut off at the length limit
};

/// What differs between the sentences of a batch.
struct SentenceInput {
  int64_t source_length = 0;        ///< tokens, for the length limit
  std::vector<int32_t> prefix;      ///< forced first tokens
  uint64_t line = 0;                ///< number of the line in the whole input: the sampling stream is (seed, "sample", line)
};

/// Per sentence up to n_best hypotheses, best first. The result for a sentence does not depend on the others of the batch (beyond the
/// rounding of the decoder). Finished sentences and rows leave the batch at once. Ties are broken by the smaller token id.
std::vector<std::vector<Hypothesis>> search(StepDecoder& decoder, const std::vector<SentenceInput>& inputs, int32_t bos,
                                            int32_t eos, const SearchOptions& options, uint64_t seed);

}  // namespace seqmill::search
