#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "search/strategy.h"
#include "search/top_k.h"

namespace seqmill::search {
namespace {

// Draws by inversion: the cumulative weights of the tokens that are left, and one uniform number.
class Sampler {
 public:
  Sampler(const SearchOptions& options, int64_t vocabulary) : options_(options), vocabulary_(vocabulary) {}

  int32_t draw(const float* logprobs, Rng& rng) {
    float max = -INFINITY;
    bool valid = true;
    for (int64_t token = 0; token < vocabulary_; ++token) {
      valid &= logprobs[token] < INFINITY;
      max = logprobs[token] > max ? logprobs[token] : max;
    }
    if (!valid) return kNotFinite;
    if (max == -INFINITY) return kImpossible;
    const double uniform = rng.uniform();
    if (options_.top_k > 0) return draw_ranked(logprobs, max, options_.top_k, uniform);
    if (options_.top_p < 1) return draw_nucleus(logprobs, max, uniform);
    accumulate_all(logprobs, max);
    return static_cast<int32_t>(position(uniform));
  }

 private:
  double weight(double logprob, double max) const { return std::exp((logprob - max) / options_.temperature); }

  // Weights are relative to the most probable token's, so that no temperature can make all of them vanish.
  void accumulate_all(const float* logprobs, float max) {
    const float scale = static_cast<float>(1 / options_.temperature);
    cumulative_.resize(static_cast<size_t>(vocabulary_));
    double sum = 0;
    for (size_t token = 0; token < cumulative_.size(); ++token) {
      sum += std::exp((logprobs[token] - max) * scale);
      cumulative_[token] = sum;
    }
  }

  // Ranks the `count` best tokens, cuts them to top_p of their own mass, and draws.
  int32_t draw_ranked(const float* logprobs, float max, int64_t count, double uniform) {
    rank(logprobs, max, count);
    cut(options_.top_p * cumulative_.back());
    return ranked_.sorted()[position(uniform)].token;
  }

  // The same over the whole vocabulary. A nucleus is nearly always small, so rank few tokens first and more only
  // if needed.
  int32_t draw_nucleus(const float* logprobs, float max, double uniform) {
    constexpr int64_t kFirst = 64, kGrowth = 8;
    accumulate_all(logprobs, max);
    const double mass = options_.top_p * cumulative_.back();
    for (int64_t count = kFirst;; count *= kGrowth) {
      rank(logprobs, max, count);
      if (cumulative_.back() >= mass || count >= vocabulary_) break;
    }
    cut(mass);
    return ranked_.sorted()[position(uniform)].token;
  }

  void rank(const float* logprobs, float max, int64_t count) {
    ranked_.reset(std::min(count, vocabulary_));
    ranked_.add_row(logprobs, vocabulary_, 0.0, 0);
    cumulative_.clear();
    double sum = 0;
    for (const Candidate& candidate : ranked_.sorted()) cumulative_.push_back(sum += weight(candidate.value, max));
  }

  // Keeps the fewest ranked tokens that together have at least this mass, at least one.
  void cut(double mass) {
    const auto last = std::lower_bound(cumulative_.begin(), cumulative_.end(), mass);
    if (last != cumulative_.end()) cumulative_.erase(last + 1, cumulative_.end());
  }

  // The first place whose cumulative weight exceeds the drawn share; so never one of weight 0.
  size_t position(double uniform) const {
    const double total = cumulative_.back();
    auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), uniform * total);
    if (found == cumulative_.end()) found = std::lower_bound(cumulative_.begin(), cumulative_.end(), total);
    return static_cast<size_t>(found - cumulative_.begin());
  }

  const SearchOptions& options_;
  const int64_t vocabulary_;
  TopK ranked_;
  std::vector<double> cumulative_;
};

}  // namespace

Results sampling_search(const Task& task) {
  std::vector<Rng> streams;  // [sentence, sample]
  for (const SentenceInput& input : task.inputs) {
    const Rng stream(task.seed, "sample", input.line);
    streams.push_back(stream);
    for (int64_t sample = 1; sample < task.options.n_best; ++sample) {
      streams.emplace_back(stream.key(), "sample", static_cast<uint64_t>(sample));
    }
  }
  Sampler sampler(task.options, task.decoder.vocabulary_size());
  const int64_t samples = task.options.n_best;
  return independent_search(task, samples, [&](int64_t sentence, int64_t sample, const float* logprobs) {
    return sampler.draw(logprobs, streams[static_cast<size_t>(sentence * samples + sample)]);
  });
}

}  // namespace seqmill::search
