#include "search/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/exponential.h"

namespace seqmill::search {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kBlock = 64;

// Below this the weights of all but the best tokens vanish in float, which 0 asks for by name.
constexpr double kLeastTemperature = 0.001;

}  // namespace

void SamplerOptions::declare(Options& options) {
  options.add("temperature", temperature, "Divides log-probabilities; below 1 is less varied, 0 is the most probable token each time").range(0);
  options.add("top-k", top_k, "Draw among this many most probable tokens; 0 is all").range(0);
  options.add("top-p", top_p, "Draw among the fewest tokens of this total probability").range(0, 1);
  options.add("min-p", min_p, "Draw among tokens of at least this share of the best one's probability").range(0, 1);
  options.add("repetition-penalty", repetition_penalty, "Multiplies the log-probabilities of tokens that were there before, prompt included").range(0);
}

void SamplerOptions::check() const {
  if (temperature != 0 && !(temperature >= kLeastTemperature)) {
    fail_usage("--temperature is {}; expected {} or more, or 0 for the most probable token each time", temperature, kLeastTemperature);
  }
  if (top_k < 0) fail_usage("--top-k is {}; expected 0 (all) or more", top_k);
  if (!(top_p > 0 && top_p <= 1)) fail_usage("--top-p is {}; expected more than 0 and at most 1", top_p);
  if (!(min_p >= 0 && min_p <= 1)) fail_usage("--min-p is {}; expected 0 to 1", min_p);
  if (!(repetition_penalty > 0)) fail_usage("--repetition-penalty is {}; expected more than 0 (1: none)", repetition_penalty);
  if (temperature != 0) return;
  if (top_k != 0) fail_usage("--top-k has no effect at --temperature 0");
  if (top_p != 1) fail_usage("--top-p has no effect at --temperature 0");
  if (min_p != 0) fail_usage("--min-p has no effect at --temperature 0");
}

void SeenTokens::add(int32_t token) {
  if (seen_[static_cast<size_t>(token)]) return;
  seen_[static_cast<size_t>(token)] = true;
  tokens_.push_back(token);
}

void SeenTokens::penalise(float* logprobs, double penalty) {
  saved_.clear();
  for (const int32_t token : tokens_) {
    saved_.push_back(logprobs[token]);
    logprobs[token] *= static_cast<float>(penalty);
  }
}

void SeenTokens::restore(float* logprobs) const {
  for (size_t i = 0; i < tokens_.size(); ++i) logprobs[tokens_[i]] = saved_[i];
}

Sampler::Sampler(const SamplerOptions& options, int64_t vocabulary)
    : options_(options), vocabulary_(static_cast<size_t>(vocabulary)),
      weights_((vocabulary_ + kBlock - 1) / kBlock * kBlock, 0.0f) {}

int32_t Sampler::draw(const float* logprobs, Rng& rng, double temperature) {
  float max = -INFINITY;
  if (!find_max(logprobs, max)) return kNotFinite;
  if (max == -INFINITY) return kImpossible;
  drawn_logprob_ = 0;
  if (temperature == 0) return static_cast<int32_t>(std::find(logprobs, logprobs + vocabulary_, max) - logprobs);
  // Relative to the most probable token, so that no temperature can make all weights vanish.
  const float scale = static_cast<float>(1 / temperature);
  for (size_t token = 0; token < vocabulary_; ++token) {
    weights_[token] = exp_of_negative((logprobs[token] - max) * scale);
  }
  truncate(logprobs);
  return pick(rng.uniform());
}

void Sampler::truncate(const float* logprobs) {
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(vocabulary_)) {
    rank(logprobs, options_.top_k);
    const double mass = mass_of(ranked_.sorted());
    exclude_after(options_.top_p < 1 ? last_within(ranked_.sorted(), options_.top_p * mass) : ranked_.sorted().back(),
                  logprobs);
  } else if (options_.top_p < 1) {
    exclude_after(nucleus_end(logprobs), logprobs);
  }
  if (options_.min_p == 0) return;
  const float least = static_cast<float>(options_.min_p);  // the best token's weight is 1
  for (size_t token = 0; token < vocabulary_; ++token) weights_[token] = weights_[token] < least ? 0.0f : weights_[token];
}

// In lanes, which the compiler keeps in vector registers. Returns false for NaN or infinity.
bool Sampler::find_max(const float* logprobs, float& max) const {
  std::array<float, kLanes> lanes;
  lanes.fill(-INFINITY);
  int invalid = 0;
  const size_t whole = vocabulary_ - vocabulary_ % kLanes;
  for (size_t token = 0; token < whole; token += kLanes) {
    for (size_t i = 0; i < kLanes; ++i) {
      const float logprob = logprobs[token + i];
      invalid |= !(logprob < INFINITY);
      lanes[i] = logprob > lanes[i] ? logprob : lanes[i];
    }
  }
  for (size_t token = whole; token < vocabulary_; ++token) {
    invalid |= !(logprobs[token] < INFINITY);
    lanes[0] = logprobs[token] > lanes[0] ? logprobs[token] : lanes[0];
  }
  max = *std::max_element(lanes.begin(), lanes.end());
  return invalid == 0;
}

void Sampler::rank(const float* logprobs, int64_t count) {
  ranked_.reset(count);
  ranked_.add_row(logprobs, static_cast<int64_t>(vocabulary_), 0.0, 0);
}

double Sampler::mass_of(const std::vector<Candidate>& candidates) const {
  double mass = 0;
  for (const Candidate& candidate : candidates) mass += weight(candidate);
  return mass;
}

// The last of the fewest ranked candidates that together have at least this mass; the last of all if none do.
Candidate Sampler::last_within(const std::vector<Candidate>& ranked, double mass) const {
  double sum = 0;
  for (const Candidate& candidate : ranked) {
    sum += weight(candidate);
    if (sum >= mass) return candidate;
  }
  return ranked.back();
}

// Most nuclei are small and cheap to rank; the others are cut by halves, without sorting the vocabulary.
Candidate Sampler::nucleus_end(const float* logprobs) {
  const double mass = options_.top_p * accumulate_blocks();
  for (const int64_t count : {64, 512}) {
    rank(logprobs, count);
    if (mass_of(ranked_.sorted()) >= mass) return last_within(ranked_.sorted(), mass);
  }
  all_.clear();
  for (size_t token = 0; token < vocabulary_; ++token) {
    if (weights_[token] > 0) all_.push_back({logprobs[token], static_cast<int32_t>(token), 0});
  }
  auto begin = all_.begin(), end = all_.end();
  double before = 0;  // mass of what ranks before `begin`
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, ranks_before);
    double upper = 0;
    for (auto candidate = begin; candidate != middle; ++candidate) upper += weight(*candidate);
    if (before + upper >= mass) {
      end = middle;
    } else {
      before += upper;
      begin = middle;
    }
  }
  return *begin;
}

void Sampler::exclude_after(const Candidate& last, const float* logprobs) {
  const float least = static_cast<float>(last.value);
  for (size_t token = 0; token < vocabulary_; ++token) {
    const bool after = logprobs[token] < least || (logprobs[token] == least && static_cast<int32_t>(token) > last.token);
    weights_[token] = after ? 0.0f : weights_[token];
  }
}

// Fills cumulative_ with the running total after each block and returns the whole.
double Sampler::accumulate_blocks() {
  cumulative_.clear();
  double total = 0;
  for (size_t begin = 0; begin < weights_.size(); begin += kBlock) {
    std::array<float, kLanes> lanes{};
    for (size_t i = 0; i < kBlock; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += weights_[begin + i + lane];
    }
    for (const float sum : lanes) total += sum;
    cumulative_.push_back(total);
  }
  return total;
}

// The first token whose cumulative weight exceeds the drawn share.
int32_t Sampler::pick(double uniform) {
  const double target = uniform * accumulate_blocks();
  const auto after = std::upper_bound(cumulative_.begin(), cumulative_.end(), target);
  // Rounding may carry the target to the very total: then it is the last block that added to it.
  const auto block = after != cumulative_.end()
                         ? after
                         : std::lower_bound(cumulative_.begin(), cumulative_.end(), cumulative_.back());
  const size_t begin = static_cast<size_t>(block - cumulative_.begin()) * kBlock;
  double sum = block == cumulative_.begin() ? 0.0 : *(block - 1);
  size_t last = begin;
  for (size_t token = begin; token < begin + kBlock; ++token) {
    if (weights_[token] == 0) continue;
    last = token;
    sum += weights_[token];
    if (sum > target) break;
  }
  drawn_logprob_ = std::log(static_cast<double>(weights_[last]) / cumulative_.back());
  return static_cast<int32_t>(last);
}

}  // namespace seqmill::search
