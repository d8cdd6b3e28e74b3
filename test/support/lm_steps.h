#pragma once
// Language models taken step by step.

#include <cmath>
#include <vector>

#include "infer/language_model.h"

namespace seqmill::test {

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

}  // namespace seqmill::test
