#include "search/strategy.h"
#include "search/top_k.h"

namespace seqmill::search {

Results greedy_search(const Task& task) {
  TopK best;
  const int64_t vocabulary = task.decoder.vocabulary_size();
  return independent_search(task, std::vector<int64_t>(task.inputs.size(), 1), [&](int64_t, int64_t, const float* logprobs) {
    best.reset(1);
    if (!best.add_row(logprobs, vocabulary, 0.0, 0)) return Choice{kNotFinite};
    return Choice{best.sorted().empty() ? kImpossible : best.sorted().front().token};
  });
}

}  // namespace seqmill::search
