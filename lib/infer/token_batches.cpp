#include "infer/token_batches.h"

#include <algorithm>
#include <atomic>

#include "base/signals.h"
#include "base/team.h"
#include "base/threads.h"

namespace seqmill::infer {

void for_each_batch(const std::vector<size_t>& sizes, int64_t batch_tokens, int threads, const std::function<void(size_t, size_t, int)>& work) {
  std::vector<size_t> ends;
  size_t tokens = 0;
  for (size_t i = 0; i < sizes.size(); tokens += sizes[i++]) {
    if (i > 0 && tokens + sizes[i] > static_cast<size_t>(batch_tokens)) {
      ends.push_back(i);
      tokens = 0;
    }
  }
  if (!sizes.empty()) ends.push_back(sizes.size());
  const auto workers = std::clamp<int64_t>(static_cast<int64_t>(ends.size()), 1, threads);
  const int each = threads / static_cast<int>(workers);
  std::atomic<size_t> next{0};
  Team team(workers, [&] { set_threads(each); });
  team.run([&](int64_t) {
    for (size_t batch = next++; batch < ends.size(); batch = next++) {
      try {
        throw_if_stopped();
        work(batch == 0 ? 0 : ends[batch - 1], ends[batch], each);
      } catch (...) {
        next = ends.size();
        throw;
      }
    }
  });
}

}  // namespace seqmill::infer
