#pragma once
// Log-probabilities of given answers, and perplexities of texts.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "infer/language_model.h"
#include "text/chat.h"

namespace seqmill::infer {

/// A prompt with its answer, as a model is asked about it.
struct ScoredSequence {
  Tokens tokens;
  int64_t first = 0;  ///< the first token of the answer, all from there on are; at least 1
};

/// How `response` goes on `messages`, what ends an answer included, or not. Throws Error when there is nothing before the answer, and for a template that
/// does not put an answer straight behind its prompt.
ScoredSequence sequence_of(const text::ChatTemplate& chat, const std::vector<text::Message>& messages, const std::string& response, bool with_end);

/// Log-probabilities of the answers' tokens, computed for about `batch_tokens` tokens at a time by each of
/// several workers. Not a number where the model gives that.
std::vector<std::vector<double>> score_answers(const LanguageModel& model, const std::vector<ScoredSequence>& sequences, int64_t batch_tokens, int threads);

struct Perplexity {
  int64_t tokens = 0;  ///< that were scored
  int64_t words = 0;   ///< white-space separated ones, and one for each line end
  int64_t bytes = 0;   ///< of UTF-8
  double nll = 0;      ///< natural log, summed over tokens

  double per_token() const;
  double per_word() const;
  double per_byte() const;
  double bits_per_byte() const;
};

/// Tokens and nll of a text, by the windows of plan_windows(). `done` is called with the number of tokens scored so far, by one worker at a time. Throws Error for NaN.
Perplexity score_text(const LanguageModel& model, const Tokens& text, int64_t window, int64_t stride, int64_t batch_tokens, int threads,
                      const std::function<void(int64_t)>& done);

}  // namespace seqmill::infer
