#pragma once
// Training a language model: on a stream of text, or on the answers of conversations.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/lm.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "train/task.h"

namespace seqmill::train {

struct LmTaskOptions {
  std::vector<std::string> train, valid;
  bool skip_bad = false;             ///< leave bad records out
  std::string format = "text";      ///< text, jsonl (data/lm_corpus.h), chat (data/chat_corpus.h)
  std::string text_field = "text";
  int64_t window = 0;               ///< tokens that the model sees at most; 0: what the model has positions for, but no more than 512
  int64_t batch_tokens = 4096;
  int64_t part_tokens = 2048;       ///< a batch is worked on in parts of about this many of those tokens
  int64_t bucket_batches = 64;      ///< conversations are sorted by length within windows of this many batches
  double label_smoothing = 0;

  void declare(Options& options);
};

/// Another model of the same shape, its weights unset.
using LmCopier = std::function<std::unique_ptr<model::Lm>()>;

/// `cache` is a directory for tokenised corpora, which rank 0 makes and all read. `frame`: of conversations, null for other formats. `progress`: a status line
/// while text is tokenised. `model`, `tokenizer` and `frame` must outlive the task. `copy` makes the models of further workers.
///
/// A validation of text gives "loss" and "ppl" per token, "word-ppl" and "bits-per-byte" by windows of --window tokens side by side, as lm-score does; one of
/// conversations "loss" and "ppl" per learned token.
std::unique_ptr<Task> make_lm_task(model::Lm& model, const LmCopier& copy, const text::Tokenizer& tokenizer, const text::ChatTemplate* frame,
                                   const LmTaskOptions& options, const std::string& cache, uint64_t seed, bool progress, Ranks& ranks);

/// Throws Error, with numbers and what helps, when a model of this size cannot be trained in the memory that is available: weights, gradients and moments alone do not
/// fit. What a batch takes, and every further worker, comes on top. `averages`: with a moving average of the weights.
void check_training_memory(const model::LmSize& size, bool averages, int64_t available);

}  // namespace seqmill::train
