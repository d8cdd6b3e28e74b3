#pragma once
// How long a hypothesis may become, and what its length does to its score.

#include <cstdint>

#include "search/search.h"

namespace seqmill::search {

/// Target tokens of one sentence, the end symbol not counted: 0 <= min <= max.
struct LengthLimits {
  LengthLimits(const SearchOptions& options, const SentenceInput& input);
  int64_t min;
  int64_t max;
};

class LengthPenalty {
 public:
  explicit LengthPenalty(const SearchOptions& options);

  /// The score of a hypothesis of `length` tokens, the end symbol counted when it was reached; length 0 counts as
  /// 1.
  double score(double logprob, int64_t length) const;
  /// An upper bound of `score` for all hypotheses that continue one of `logprob` to a length in from..to.
  double attainable(double logprob, int64_t from, int64_t to) const;

 private:
  enum class Kind { kNone, kAverage, kGnmt };
  Kind kind_;
  double alpha_;
};

}  // namespace seqmill::search
