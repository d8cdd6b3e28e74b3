#pragma once
// The order in which a corpus is seen. An epoch's batches follow from (seed, epoch) alone, so the whole state of the reader is two
// integers and a resumed run goes on where it was.

#include <cstdint>
#include <functional>
#include <vector>

#include "data/batch.h"

namespace seqmill::data {

struct Cursor {
  int64_t epoch = 0;
  int64_t batch = 0;  ///< the next batch of the epoch
};

struct BatchOrder {
  int64_t batch_tokens = 4096;  ///< a batch holds at most this many tokens on its longer side, end symbols included
  int64_t bucket_batches = 64;  ///< pairs are sorted by length within windows of about this many batches
  bool shuffle = true;
  uint64_t seed = 1;
};

/// Lists of pair numbers, one list per batch.
using BatchPlan = std::vector<std::vector<int64_t>>;

/// Shuffles the pairs (stream "data", sub-stream epoch), sorts windows of them by length, cuts batches, shuffles the batches.
/// `lengths(pair)` gives the token counts of both sides. A pair longer than a batch is a batch by itself.
BatchPlan plan_batches(int64_t pairs, const std::function<std::pair<int64_t, int64_t>(int64_t)>& lengths,
                       const BatchOrder& order, int64_t epoch);

/// Deals the pairs of a batch out to at most `parts` lists of about the same number of tokens, in each of which they keep their order. None is empty.
BatchPlan deal(const std::vector<int64_t>& pairs, const std::function<std::pair<int64_t, int64_t>(int64_t)>& lengths, int64_t parts);

}  // namespace seqmill::data
