#pragma once
// A StepDecoder made of a function of the tokens so far, which notes what it was asked for.

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "search/search.h"

namespace seqmill::search {

constexpr int32_t kEos = 0;
constexpr int32_t kBos = 1 << 20;  // no token of the fakes: it may only be seen at the first step

/// Log-probabilities of the next token for the sentence `key` after `tokens`.
using Model = std::function<std::vector<float>(uint64_t key, const std::vector<int32_t>& tokens)>;

inline std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> logs;
  for (const double p : probabilities) logs.push_back(static_cast<float>(std::log(p)));
  return logs;
}

/// Another distribution for every prefix of every sentence. `sharpness` 0 is uniform.
inline Model random_model(uint64_t seed, int64_t vocabulary, double sharpness = 2.0) {
  return [=](uint64_t key, const std::vector<int32_t>& tokens) {
    uint64_t state = random_bits(seed, key);
    for (const int32_t token : tokens) state = random_bits(state, static_cast<uint64_t>(token));
    Rng rng(state, "model");
    std::vector<double> weights;
    double sum = 0;
    for (int64_t i = 0; i < vocabulary; ++i) sum += weights.emplace_back(std::exp(sharpness * rng.normal()));
    for (double& weight : weights) weight /= sum;
    return logs(weights);
  };
}

struct FakeRow {
  uint64_t key;
  std::vector<int32_t> tokens;
};

class FakeDecoder : public StepDecoder {
 public:
  FakeDecoder(std::vector<uint64_t> keys, Model model) : model_(std::move(model)) {
    for (const uint64_t key : keys) rows_.push_back({key, {}});
    sentences_ = static_cast<int64_t>(rows_.size());
    vocabulary_ = static_cast<int64_t>(model_(0, {}).size());
  }

  int64_t sentences() const override { return sentences_; }
  int64_t vocabulary_size() const override { return vocabulary_; }

  float* advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) override {
    if (parents.empty() || parents.size() != tokens.size()) fail("fake decoder: a step without rows");
    std::vector<FakeRow> rows;
    std::vector<float> logprobs;
    for (size_t i = 0; i < parents.size(); ++i) {
      rows.push_back(rows_.at(static_cast<size_t>(parents[i])));
      if ((tokens[i] == kBos) != steps.empty()) fail("fake decoder: begin symbol at the wrong step");
      if (!steps.empty()) rows.back().tokens.push_back(tokens[i]);
      const std::vector<float> row = model_(rows.back().key, rows.back().tokens);
      logprobs.insert(logprobs.end(), row.begin(), row.end());
    }
    rows_ = rows;
    steps.push_back(std::move(rows));
    logprobs_ = std::move(logprobs);
    return logprobs_.data();
  }

  /// The rows of every step so far.
  std::vector<std::vector<FakeRow>> steps;

 private:
  Model model_;
  std::vector<FakeRow> rows_;
  std::vector<float> logprobs_;
  int64_t sentences_, vocabulary_;
};

/// The log-probability of `tokens`, with the end symbol's when `finished`.
inline double logprob_of(const Model& model, uint64_t key, std::vector<int32_t> tokens, bool finished) {
  double sum = 0;
  if (finished) tokens.push_back(kEos);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::vector<int32_t> before(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(i));
    sum += model(key, before)[static_cast<size_t>(tokens[i])];
  }
  return sum;
}

/// Options whose only length limit is `max_length`, without early stop.
inline SearchOptions options_with(int64_t beam, int64_t n_best, int64_t max_length,
                                  const std::string& penalty = "average", double alpha = 1.0) {
  SearchOptions options;
  options.beam = beam;
  options.n_best = n_best;
  options.max_length = max_length;
  options.max_extra = 1000;
  options.early_stop = false;
  options.length_penalty = penalty;
  options.alpha = alpha;
  return options;
}

inline std::vector<std::vector<Hypothesis>> run(const Model& model, const std::vector<uint64_t>& keys,
                                                const SearchOptions& options, uint64_t seed = 1) {
  FakeDecoder decoder(keys, model);
  std::vector<SentenceInput> inputs(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) inputs[i].line = keys[i];
  return search(decoder, inputs, kBos, kEos, options, seed);
}

inline std::vector<Hypothesis> run_one(const Model& model, const SearchOptions& options,
                                       std::vector<int32_t> prefix = {}, uint64_t key = 0) {
  FakeDecoder decoder({key}, model);
  SentenceInput input;
  input.prefix = std::move(prefix);
  input.line = key;
  return search(decoder, {input}, kBos, kEos, options, 1).at(0);
}

/// Bit-equal in every field.
inline bool same(const std::vector<Hypothesis>& a, const std::vector<Hypothesis>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].tokens != b[i].tokens || a[i].logprob != b[i].logprob || a[i].score != b[i].score ||
        a[i].finished != b[i].finished) {
      return false;
    }
  }
  return true;
}

}  // namespace seqmill::search
