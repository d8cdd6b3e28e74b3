#include "search/length.h"

#include <algorithm>
#include <cmath>

namespace seqmill::search {

LengthLimits::LengthLimits(const SearchOptions& options, const SentenceInput& input) {
  // In double: the product may be far beyond an int64_t.
  const double by_source = std::floor(options.max_ratio * static_cast<double>(input.source_length)) +
                           static_cast<double>(options.max_extra);
  max = by_source < static_cast<double>(options.max_length) ? static_cast<int64_t>(by_source) : options.max_length;
  max = std::max(max, static_cast<int64_t>(input.prefix.size()));
  min = std::min(options.min_length, max);
}

LengthPenalty::LengthPenalty(const SearchOptions& options)
    : kind_(options.length_penalty == "none"   ? Kind::kNone
            : options.length_penalty == "gnmt" ? Kind::kGnmt
                                               : Kind::kAverage),
      alpha_(options.alpha) {}

double LengthPenalty::score(double logprob, int64_t length) const {
  if (kind_ == Kind::kNone) return logprob;
  const double counted = static_cast<double>(std::max<int64_t>(length, 1));
  return logprob / std::pow(kind_ == Kind::kAverage ? counted : (5.0 + counted) / 6.0, alpha_);
}

double LengthPenalty::attainable(double logprob, int64_t from, int64_t to) const {
  // The quotient is monotonic in the length. It rises for every true log-probability; rounding in a decoder can
  // make one of a certain token slightly positive, and then the shortest length is the best.
  return std::max(score(logprob, from), score(logprob, to));
}

}  // namespace seqmill::search
