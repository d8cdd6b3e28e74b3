#include "base/rng.h"
#include "search/sampler.h"
#include "search/strategy.h"

namespace seqmill::search {

Results sampling_search(const Task& task) {
  std::vector<Rng> streams;  // [sentence, sample]
  for (const SentenceInput& input : task.inputs) {
    const Rng stream(task.seed, "sample", input.line);
    streams.push_back(stream);
    for (int64_t sample = 1; sample < task.options.n_best; ++sample) {
      streams.emplace_back(stream.key(), "sample", static_cast<uint64_t>(sample));
    }
  }
  SamplerOptions options;
  options.temperature = task.options.temperature;
  options.top_k = task.options.top_k;
  options.top_p = task.options.top_p;
  Sampler sampler(options, task.decoder.vocabulary_size());
  const int64_t samples = task.options.n_best;
  return independent_search(task, samples, [&](int64_t sentence, int64_t sample, const float* logprobs) {
    return sampler.draw(logprobs, streams[static_cast<size_t>(sentence * samples + sample)]);
  });
}

}  // namespace seqmill::search
