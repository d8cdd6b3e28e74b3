#pragma once
// What a search needs of a model, and all it may know of it.

#include <cstdint>
#include <vector>

namespace seqmill::search {

/// A batch of sentences under way. Before the first step row i stands for sentence i; each step chooses which rows
/// live on.
class StepDecoder {
 public:
  virtual ~StepDecoder() = default;
  virtual int64_t sentences() const = 0;
  virtual int64_t vocabulary_size() const = 0;
  /// One step. Row i of the new step continues row parents[i] of the step before (at the first step: sentence
  /// parents[i]) with the token tokens[i] (at the first step: the begin symbol). Returns the log-probabilities of
  /// the next token [rows, vocabulary_size], valid, and free to be overwritten by the caller, until the next call.
  virtual float* advance(const std::vector<int32_t>& parents, const std::vector<int32_t>& tokens) = 0;
};

}  // namespace seqmill::search
