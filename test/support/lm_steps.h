#pragma once
// Language models taken step by step.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/threads.h"
#include "infer/language_model.h"

namespace seqmill::test {

inline infer::Tokens random_tokens(int64_t vocabulary, int64_t count, uint64_t seed) {
  Rng rng(seed, "tokens");
  infer::Tokens tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(rng.uniform() * static_cast<double>(vocabulary)));
  return tokens;
}

/// Log-probabilities of the next token.
using LogprobRow = std::vector<float>;

inline LogprobRow begin(infer::SequenceDecoder& decoder, int64_t vocabulary, const infer::Tokens& tokens, infer::SequenceDecoder::Handle& handle) {
  LogprobRow row(static_cast<size_t>(vocabulary));
  handle = decoder.begin(tokens, row.data());
  return row;
}

inline std::vector<LogprobRow> advance(infer::SequenceDecoder& decoder, int64_t vocabulary, const std::vector<infer::SequenceDecoder::Handle>& handles,
                                       const infer::Tokens& tokens) {
  const float* all = decoder.advance(handles, tokens);
  std::vector<LogprobRow> rows;
  for (size_t i = 0; i < handles.size(); ++i, all += vocabulary) rows.emplace_back(all, all + vocabulary);
  return rows;
}

/// Behind each token, the first alone at the beginning and the others step by step.
inline std::vector<LogprobRow> by_steps(const infer::LanguageModel& model, const infer::Tokens& tokens) {
  const auto decoder = model.start(1);
  infer::SequenceDecoder::Handle handle = -1;
  std::vector<LogprobRow> rows{begin(*decoder, model.vocabulary_size(), {tokens[0]}, handle)};
  for (size_t i = 1; i < tokens.size(); ++i) rows.push_back(advance(*decoder, model.vocabulary_size(), {handle}, {tokens[i]})[0]);
  return rows;
}

/// The largest difference; infinite for rows of different sizes.
template <typename Number>
double worst(const LogprobRow& a, const std::vector<Number>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double now = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(now <= worst)) worst = now;
  }
  return worst;
}

/// What each of some sequences gives by itself: behind its prompt, and behind 20 more tokens.
inline std::vector<std::vector<LogprobRow>> each_alone(const infer::LanguageModel& model, const std::vector<infer::Tokens>& sequences) {
  std::vector<std::vector<LogprobRow>> all;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto decoder = model.start(1);
    infer::SequenceDecoder::Handle handle = -1;
    std::vector<LogprobRow> rows{begin(*decoder, model.vocabulary_size(), sequences[i], handle)};
    for (size_t step = 0; step < 20; ++step) rows.push_back(advance(*decoder, model.vocabulary_size(), {handle}, {static_cast<int32_t>((i + step) % static_cast<size_t>(model.vocabulary_size()))})[0]);
    all.push_back(std::move(rows));
  }
  return all;
}

/// The same of all together, begun one by one or all at once.
inline std::vector<std::vector<LogprobRow>> all_together(const infer::LanguageModel& model, const std::vector<infer::Tokens>& sequences, int with_threads, bool at_once) {
  const auto decoder = model.start(with_threads);
  std::vector<infer::SequenceDecoder::Handle> handles(sequences.size());
  std::vector<std::vector<LogprobRow>> rows;
  if (at_once) {
    std::vector<infer::SequenceDecoder::Beginning> beginnings;
    for (size_t i = 0; i < sequences.size(); ++i) rows.emplace_back(1, LogprobRow(static_cast<size_t>(model.vocabulary_size())));
    for (size_t i = 0; i < sequences.size(); ++i) beginnings.push_back({&sequences[i], rows[i][0].data()});
    handles = decoder->begin_all(beginnings);
  } else {
    for (size_t i = 0; i < sequences.size(); ++i) rows.push_back({begin(*decoder, model.vocabulary_size(), sequences[i], handles[i])});
  }
  for (size_t step = 0; step < 20; ++step) {
    infer::Tokens next;
    for (size_t i = 0; i < sequences.size(); ++i) next.push_back(static_cast<int32_t>((i + step) % static_cast<size_t>(model.vocabulary_size())));
    const std::vector<LogprobRow> out = advance(*decoder, model.vocabulary_size(), handles, next);
    for (size_t i = 0; i < sequences.size(); ++i) rows[i].push_back(out[i]);
  }
  return rows;
}

/// What a sequence gives depends neither on other sequences nor on threads. Of models of 720 positions or more.
inline void check_independence(const infer::LanguageModel& model) {
  std::vector<infer::Tokens> sequences;
  for (const int64_t length : {1, 30, 17, 200, 2, 64, 16, 33, 700, 130, 1}) sequences.push_back(random_tokens(model.vocabulary_size(), length, 10 + static_cast<uint64_t>(length)));
  const std::vector<std::vector<LogprobRow>> alone = each_alone(model, sequences);
  std::vector<double> scores_alone;
  for (const infer::Tokens& tokens : sequences) {
    for (const double score : model.score({tokens}, 1)) scores_alone.push_back(score);
  }
  const int before = threads();
  for (const int count : {1, 2, 3}) {
    CAPTURE(count);
    set_threads(count);
    for (const bool at_once : {false, true}) {
      const std::vector<std::vector<LogprobRow>> together = all_together(model, sequences, count, at_once);
      for (size_t i = 0; i < sequences.size(); ++i) {
        CAPTURE(at_once, i);
        CHECK((together[i] == alone[i]));
      }
    }
    CHECK((model.score(sequences, count) == scores_alone));
  }
  set_threads(before);
}

}  // namespace seqmill::test
