#pragma once
// Drawing the next token of one hypothesis.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/options.h"
#include "base/rng.h"
#include "search/top_k.h"

namespace seqmill::search {

/// What a choice of the next token may be besides a token: there is none of a probability above 0; a log-probability is NaN or infinity.
constexpr int32_t kImpossible = -1;
constexpr int32_t kNotFinite = -2;

struct SamplerOptions {
  double temperature = 1;  ///< log-probabilities are divided by it; 0: the most probable token, the smaller id of equals
  int64_t top_k = 0;       ///< draw among the k most probable tokens; 0: all
  double top_p = 1;        ///< in (0, 1]: and among the fewest of these whose share is >= top_p (Holtzman et al., 2020)
  double min_p = 0;        ///< in [0, 1]: and among those at least min_p times as probable as the best (Nguyen et al., 2024)
  double repetition_penalty = 1;  ///< > 0, see SeenTokens

  void declare(Options& options);
  /// Throws a usage error for values out of range and for truncation at temperature 0, where it has no effect.
  void check() const;
};

/// The distinct tokens of a sequence, and the penalty of having been there (Keskar et al., 2019, "CTRL", eq. 1). It divides positive logits and multiplies
/// negative ones; log-probabilities, which are logits that are negative or 0, are multiplied. So a token of probability p becomes one of p^penalty, before
/// all are scaled to sum 1. This is what Hugging Face's beam search does. Its sampling takes a model's output before normalisation, which differs from
/// log-probabilities by a constant that no model is trained to choose, and the effect with it: there a token with a positive logit is divided.
class SeenTokens {
 public:
  explicit SeenTokens(int64_t vocabulary) : seen_(static_cast<size_t>(vocabulary), false) {}
  void add(int32_t token);
  /// Until restore(), `logprobs` [vocabulary] of these tokens are penalised.
  void penalise(float* logprobs, double penalty);
  void restore(float* logprobs) const;

 private:
  std::vector<bool> seen_;
  std::vector<int32_t> tokens_;
  std::vector<float> saved_;
};

/// Draws by inversion: weights in the order of the token ids, those of excluded tokens 0, and one uniform number a token (none at temperature 0).
class Sampler {
 public:
  /// The repetition penalty is the caller's business. `options` are taken as they are.
  Sampler(const SamplerOptions& options, int64_t vocabulary);

  /// A token, kImpossible or kNotFinite. `logprobs` [vocabulary] need not sum to 1.
  int32_t draw(const float* logprobs, Rng& rng) { return draw(logprobs, rng, options_.temperature); }
  /// At another temperature than that of the options.
  int32_t draw(const float* logprobs, Rng& rng, double temperature);
  /// Of the token that was drawn last, among those that could be drawn then.
  double drawn_logprob() const { return drawn_logprob_; }

 private:
  bool find_max(const float* logprobs, float& max) const;
  void truncate(const float* logprobs);
  void rank(const float* logprobs, int64_t count);
  double weight(const Candidate& candidate) const { return weights_[static_cast<size_t>(candidate.token)]; }
  double mass_of(const std::vector<Candidate>& candidates) const;
  Candidate last_within(const std::vector<Candidate>& ranked, double mass) const;
  Candidate nucleus_end(const float* logprobs);
  void exclude_after(const Candidate& last, const float* logprobs);
  double accumulate_blocks();
  int32_t pick(double uniform);

  const SamplerOptions options_;
  const size_t vocabulary_;
  std::vector<float> weights_;      // [vocabulary, padded with 0 to whole blocks]
  std::vector<double> cumulative_;  // [blocks]
  TopK ranked_;
  std::vector<Candidate> all_;
  double drawn_logprob_ = 0;
};

}  // namespace seqmill::search
