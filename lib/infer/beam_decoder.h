#pragma once
// Sequences of a language model as beam search wants them.

#include <cstdint>
#include <vector>

#include "infer/language_model.h"
#include "search/step_decoder.h"

namespace seqmill::infer {

/// Prompts are its sentences. The begin symbol that a search starts with is without meaning here: the first step gives what follows the prompts.
class BeamDecoder final : public search::StepDecoder {
 public:
  /// A search knows one end symbol: it is ends[0], with the log-probability of the most probable of `ends`; the others cannot be chosen. Nor can tokens from
  /// `choices` on. The decoder must outlive it.
  BeamDecoder(SequenceDecoder& decoder, int64_t vocabulary, int64_t choices, const std::vector<int32_t>& ends, const std::vector<const Tokens*>& prompts);
  ~BeamDecoder() override;
  BeamDecoder(const BeamDecoder&) = delete;
  BeamDecoder& operator=(const BeamDecoder&) = delete;

  int64_t sentences() const override { return static_cast<int64_t>(prompts_); }
  int64_t vocabulary_size() const override { return vocabulary_; }
  float* advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) override;

 private:
  void restrict(float* logprobs) const;

  SequenceDecoder& decoder_;
  const int64_t vocabulary_, choices_;
  const std::vector<int32_t> ends_;
  const size_t prompts_;
  std::vector<SequenceDecoder::Handle> rows_;
  std::vector<float> first_;   // [prompts, vocabulary] until the first step
  std::vector<float> chosen_;  // and what that step gave of them
};

}  // namespace seqmill::infer
