#pragma once
// Greedy, beam and sampling search, written once over StepDecoder.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "search/step_decoder.h"
#include "search/step_statistics.h"

namespace seqmill::search {

struct SearchOptions {
  int64_t beam = 5;    ///< 1: greedy
  int64_t n_best = 1;  ///< hypotheses per sentence; with `sample`: independent samples, else at most `beam`
  /// none: logprob; average: logprob / length^alpha; gnmt: logprob / ((5 + length) / 6)^alpha (Wu et al., 2016,
  /// eq. 14). `length` counts the end symbol when it was reached, and is at least 1.
  std::string length_penalty = "average";
  double alpha = 1.0;          ///< >= 0
  int64_t min_length = 0;      ///< target tokens before the end symbol is allowed, within the limit below
  int64_t max_length = 256;    ///< hard limit of target tokens, the end symbol not counted
  double max_ratio = 2.0;      ///< and floor(max_ratio * source tokens) + max_extra
  int64_t max_extra = 20;
  bool early_stop = true;      ///< end a sentence once `beam` hypotheses are finished, as fairseq does
  bool sample = false;         ///< draw tokens; `beam` is then without meaning
  double temperature = 1.0;    ///< >= 0.001; log-probabilities are divided by it before top_k and top_p
  int64_t top_k = 0;           ///< draw among the k most probable tokens; 0: all
  double top_p = 1.0;          ///< in (0, 1]: and among the fewest whose share is >= top_p (Holtzman et al., 2020)
  int64_t diverse_groups = 1;  ///< diverse beam search (Vijayakumar et al., 2018): groups of beam / diverse_groups
  bool observe = false;           ///< of greedy search and sampling: how sure the model is, Hypothesis::observed; not an option of the command line
  double diverse_strength = 0.5;  ///< its lambda, >= 0; diversity is Hamming's

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense (n-best above the beam, groups that do not divide
  /// the beam, --top-k without --sample, ...).
  void check() const;
};

struct Hypothesis {
  std::vector<int32_t> tokens;  ///< without begin and end symbols; a forced prefix is included
  double logprob = 0;           ///< natural log of the model's probability, with the end symbol's if reached
  double score = 0;             ///< logprob after the length penalty: what hypotheses are ranked by
  double drawn_logprob = 0;     ///< of sampling: that of the distribution it was drawn from, with temperature and truncation
  bool finished = true;         ///< false: cut off at the length limit
  StepStatistics observed = {};  ///< where that was asked for
};

/// What differs between the sentences of a batch.
struct SentenceInput {
  int64_t source_length = 0;    ///< tokens, for the length limit
  std::vector<int32_t> prefix;  ///< forced first tokens, no end symbol; the limit is never below their number
  uint64_t line = 0;            ///< number of the line in the whole input, from 0; it selects the sampling stream
  std::string name = {};        ///< for messages; empty: "line <line + 1>"
  int64_t samples = 0;          ///< of sampling: so many; 0: n_best
  double temperature = 0;       ///< of sampling: instead of that of the options, and at least 0.001; 0: that one
};

/// Per sentence 1 to n_best hypotheses. The result for a sentence does not depend on the others of the batch
/// (beyond the rounding of the decoder). Ties are broken by the smaller token id, then by the better-ranked row of
/// the beam. Rows that can no longer change the result leave the batch at once.
///
/// Beam: per step the 2 * beam best continuations of a sentence's rows are ranked by logprob; an end symbol among
/// the first `beam` of them finishes a hypothesis, the first `beam` other ones live on. With `early_stop` a
/// sentence ends after the step in which its `beam`-th hypothesis has finished. Without it, it goes on as long as
/// a live row can still enter the n_best: log-probabilities only fall, but for `average` and `gnmt` a score can
/// rise with the length, so the best attainable score of a row is its present logprob at the maximum length. The
/// result is that of going on to the limit, now and then of a higher score, at the price of more steps.
///
/// At the limit a row takes the end symbol if that is among its own `beam` best continuations. Otherwise it is cut
/// off (finished = false) and competes with the finished hypotheses by score. So do rows from which every
/// continuation has probability 0, when that holds for all rows of a sentence.
///
/// Diverse beam: group g ranks its continuations by logprob - strength * (number of times groups 1..g-1 took the
/// token in this step); the penalty is not accumulated and does not enter logprob or score. A group ends by the
/// rule above, with beam / diverse_groups in place of both beam and n_best. The result is the best n_best distinct
/// ones of all groups.
///
/// Sampling: sample s of a line draws from the stream Rng(seed, "sample", line) for s = 0, else from Rng(<that
/// stream's key>, "sample", s), one uniform number per token. How many there are, and at what temperature, a sentence may say itself. Samples are returned in this order, others best
/// first. logprob is that of the model, without temperature and truncation.
///
/// Throws Error when the decoder gives a log-probability that is NaN or plus infinity, when `inputs` do not match
/// the decoder's sentences, or when a prefix holds the end symbol or an id outside the vocabulary. A prefix of
/// probability 0 is no error: logprob and score are then -infinity, and its impossible tokens do not count in the
/// ranking.
std::vector<std::vector<Hypothesis>> search(StepDecoder& decoder, const std::vector<SentenceInput>& inputs,
                                            int32_t bos, int32_t eos, const SearchOptions& options, uint64_t seed);

}  // namespace seqmill::search
