#pragma once
// Plain, slow searches that the real ones must agree with.

#include <algorithm>
#include <tuple>
#include <vector>

#include "fake_decoder.h"
#include "search/length.h"

namespace seqmill::search {

inline Hypothesis hypothesis_of(const SearchOptions& options, std::vector<int32_t> tokens, double logprob,
                                bool finished) {
  Hypothesis hypothesis;
  const int64_t length = static_cast<int64_t>(tokens.size()) + (finished ? 1 : 0);
  hypothesis.tokens = std::move(tokens);
  hypothesis.logprob = logprob;
  hypothesis.score = LengthPenalty(options).score(logprob, length);
  hypothesis.finished = finished;
  return hypothesis;
}

inline void sort_by_score(std::vector<Hypothesis>& all) {
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
}

/// Every sequence of min_length to max_length tokens, best first.
inline std::vector<Hypothesis> exhaustive(const Model& model, const SearchOptions& options) {
  std::vector<Hypothesis> all;
  std::vector<std::vector<int32_t>> level = {{}};
  const int32_t vocabulary = static_cast<int32_t>(model(0, {}).size());
  for (int64_t length = 0; length <= options.max_length; ++length) {
    std::vector<std::vector<int32_t>> next;
    for (const auto& tokens : level) {
      if (length >= options.min_length) {
        all.push_back(hypothesis_of(options, tokens, logprob_of(model, 0, tokens, true), true));
      }
      for (int32_t token = 0; token < vocabulary; ++token) {
        if (token == kEos) continue;
        next.push_back(tokens);
        next.back().push_back(token);
      }
    }
    level = std::move(next);
  }
  sort_by_score(all);
  return all;
}

/// Beam search that sorts all continuations and always goes on to the limit.
inline std::vector<Hypothesis> plain_beam(const Model& model, const SearchOptions& options,
                                          const std::vector<int32_t>& prefix, uint64_t key) {
  struct Row {
    double logprob;
    std::vector<int32_t> tokens;
  };
  std::vector<Hypothesis> pool;
  std::vector<Row> rows = {{0.0, {}}};
  const LengthLimits limits(options, {0, prefix, 0});
  for (int64_t step = 0; !rows.empty(); ++step) {
    std::vector<std::tuple<double, int32_t, size_t>> all;  // -logprob, token, row: ascending is best first
    for (size_t r = 0; r < rows.size(); ++r) {
      const std::vector<float> logprobs = model(key, rows[r].tokens);
      for (int32_t token = 0; token < static_cast<int32_t>(logprobs.size()); ++token) {
        if (token == kEos && step < limits.min) continue;
        if (step < static_cast<int64_t>(prefix.size()) && token != prefix[static_cast<size_t>(step)]) continue;
        all.emplace_back(-(rows[r].logprob + logprobs[static_cast<size_t>(token)]), token, r);
      }
    }
    std::sort(all.begin(), all.end());
    std::vector<Row> next;
    if (step >= limits.max) {
      for (const Row& row : rows) {
        const std::vector<float> logprobs = model(key, row.tokens);
        const float end = logprobs[kEos];
        const auto better = std::count_if(logprobs.begin(), logprobs.end(), [&](float x) { return x > end; });
        const bool ends = better < options.beam;
        pool.push_back(hypothesis_of(options, row.tokens, row.logprob + (ends ? end : 0), ends));
      }
      break;
    }
    for (int64_t rank = 0; rank < std::min<int64_t>(2 * options.beam, static_cast<int64_t>(all.size())); ++rank) {
      const auto& [cost, token, r] = all[static_cast<size_t>(rank)];
      if (token == kEos && rank < options.beam) {
        pool.push_back(hypothesis_of(options, rows[r].tokens, -cost, true));
      } else if (token != kEos && static_cast<int64_t>(next.size()) < options.beam) {
        next.push_back({-cost, rows[r].tokens});
        next.back().tokens.push_back(token);
      }
    }
    rows = std::move(next);
  }
  sort_by_score(pool);
  if (static_cast<int64_t>(pool.size()) > options.n_best) pool.resize(static_cast<size_t>(options.n_best));
  return pool;
}

}  // namespace seqmill::search
