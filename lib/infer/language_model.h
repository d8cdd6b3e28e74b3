#pragma once
// A language model as its users see it, whatever computes it: the engine of this folder or LibTorch.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "infer/estimator_head.h"
#include "infer/tokens.h"
#include "text/tokenizer.h"

namespace seqmill::infer {

/// Sequences under way, each at a position of its own: they begin, branch and end at any time. What a sequence gives depends neither on the others nor on when
/// they came. For one thread at a time.
class SequenceDecoder {
 public:
  using Handle = int32_t;
  virtual ~SequenceDecoder() = default;

  /// A new sequence of these tokens, at least one. Unless `logprobs` [vocabulary_size] is null, it receives the log-probabilities of the next token.
  virtual Handle begin(const Tokens& tokens, float* logprobs) = 0;
  /// What begin() takes.
  struct Beginning {
    const Tokens* tokens;
    float* logprobs;
  };
  /// The same as begin() with one after another, and may compute them together.
  virtual std::vector<Handle> begin_all(const std::vector<Beginning>& beginnings) {
    std::vector<Handle> handles;
    for (const Beginning& beginning : beginnings) handles.push_back(begin(*beginning.tokens, beginning.logprobs));
    return handles;
  }
  /// Another sequence of the same tokens so far. Nothing is computed again, and memory is shared.
  virtual Handle branch(Handle sequence) = 0;
  /// Forgets a sequence; its handle may come again.
  virtual void end(Handle sequence) = 0;
  /// One step: sequences[i], all different, goes on with tokens[i]. Returns the log-probabilities of their next tokens [rows, vocabulary_size], valid, and free
  /// to be overwritten by the caller, until the next call of begin(), begin_all() or advance(). A sequence past the model's positions throws Error.
  virtual float* advance(const std::vector<Handle>& sequences, const std::vector<int32_t>& tokens) = 0;
};

/// Which states of a text stand for all of it: that of its last token, or the mean of those of its tokens.
enum class Pooling { kLast, kMean };

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual int64_t vocabulary_size() const = 0;
  /// The most tokens of a sequence.
  virtual int64_t max_positions() const = 0;

  /// For several threads at a time, each with a decoder of its own that computes with `threads` threads. The model must outlive it.
  virtual std::unique_ptr<SequenceDecoder> start(int threads) const = 0;

  /// log p of every token but the first of each sequence, one sequence after another. For several threads at a time.
  virtual std::vector<double> score(const std::vector<Tokens>& sequences, int threads) const = 0;

  // A model that gives no states, as of integers throughout, throws Error when it is asked for one of the following.

  /// What the output layer multiplies, of the last token of sequences: [endings of all trees, dim()], one after another. A tree's prompt is computed once for all of its
  /// endings; a tree without endings stands for its prompt alone. For several threads at a time.
  struct Tree {
    Tokens prompt;                ///< at least one token
    std::vector<Tokens> endings;  ///< each of at least one token
  };
  virtual int64_t dim() const;
  virtual std::vector<float> last_states(const std::vector<Tree>& trees, int threads) const;
  /// The same, but of each ending the mean over its tokens; of a tree without endings over those of the prompt.
  virtual std::vector<float> mean_states(const std::vector<Tree>& trees, int threads) const;
  /// The row of the output layer for a token: its product with a state is the token's logit. [dim()]
  virtual std::vector<float> output_row(int32_t token) const;
};

/// A model and what belongs to it.
struct LoadedLanguageModel {
  std::unique_ptr<LanguageModel> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::string chat_template;  ///< that it was tuned with; "plain" for a model that was not
  std::vector<float> score_head;  ///< [heads, dim()]: of a reward model ("score.weight"), whose scores are its products with a state; of others none
  Pooling pooling = Pooling::kLast;  ///< which state that is
  EstimatorHead estimator;           ///< of a learned metric; of others empty
};

}  // namespace seqmill::infer
