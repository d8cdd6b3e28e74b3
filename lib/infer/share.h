#pragma once
// Work of a decoder that computes with one thread or with several.

#include <algorithm>
#include <cstdint>

#include "base/threads.h"

namespace seqmill::infer {

/// Calls work(begin, end) on parts of 0 .. count - 1: all at once in the calling thread, or as parallel_for() does.
template <typename Work>
void share(int threads, int64_t count, int64_t grain, Work work) {
  if (threads == 1 || count <= grain) {
    if (count > 0) work(int64_t{0}, count);
  } else {
    parallel_for(count, grain, work);
  }
}

/// The smallest part that is worth a thread's while, when each of the parts takes so many operations.
inline int64_t grain_of(int64_t operations) {
  constexpr int64_t kWorthwhile = 1 << 16;
  return std::max<int64_t>(1, kWorthwhile / std::max<int64_t>(1, operations));
}

}  // namespace seqmill::infer
