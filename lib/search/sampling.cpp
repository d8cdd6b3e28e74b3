#include "base/rng.h"
#include "search/sampler.h"
#include "search/strategy.h"

namespace seqmill::search {

Results sampling_search(const Task& task) {
  std::vector<int64_t> samples;
  std::vector<std::vector<Rng>> streams;  // [sentence][sample]
  for (const SentenceInput& input : task.inputs) {
    samples.push_back(input.samples > 0 ? input.samples : task.options.n_best);
    const Rng stream(task.seed, "sample", input.line);
    streams.push_back({stream});
    for (int64_t sample = 1; sample < samples.back(); ++sample) streams.back().emplace_back(stream.key(), "sample", static_cast<uint64_t>(sample));
  }
  SamplerOptions options;
  options.temperature = task.options.temperature;
  options.top_k = task.options.top_k;
  options.top_p = task.options.top_p;
  Sampler sampler(options, task.decoder.vocabulary_size());
  return independent_search(task, samples, [&](int64_t sentence, int64_t sample, const float* logprobs) {
    const auto s = static_cast<size_t>(sentence);
    const double temperature = task.inputs[s].temperature > 0 ? task.inputs[s].temperature : options.temperature;
    const int32_t token = sampler.draw(logprobs, streams[s][static_cast<size_t>(sample)], temperature);
    return Choice{token, sampler.drawn_logprob()};
  });
}

}  // namespace seqmill::search
