#pragma once
// Work on many sequences, shared out by their tokens.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace seqmill::infer {

/// Sequences of these sizes, computed by a worker a thread: work(begin, end, threads) for about `batch_tokens` tokens at a time. The first exception ends it, and so does a
/// signal.
void for_each_batch(const std::vector<size_t>& sizes, int64_t batch_tokens, int threads, const std::function<void(size_t, size_t, int)>& work);

}  // namespace seqmill::infer
