#pragma once
// The work of lm-score: records through a model, or the perplexity of a text.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "infer/language_model.h"
#include "infer/progress.h"
#include "text/chat.h"

namespace seqmill::infer {

struct ScoreStreamOptions {
  std::vector<std::string> inputs{"-"};  ///< several with `perplexity` only: one text, one behind another
  std::string output = "-";
  bool perplexity = false;          ///< of a text, instead of scores of records
  std::string format = "text";      ///< of that text: text, or jsonl with a document a line
  std::string text_field = "text";  ///< which field of a line holds it
  bool json = false;                ///< perplexities as one JSON object
  bool per_token = false;           ///< every token's log-probability too
  bool end = true;                  ///< the token that ends an answer belongs to it, unless it is a hypothesis that never came to it
  std::string name;                 ///< put before the names of scores: <name>-logprob; empty: "lm" for hypotheses, nothing for responses
  bool stream = false;              ///< answer whenever no further record is waiting
  bool skip_bad = false;            ///< leave bad records out instead of stopping
  std::string truncate = "none";    ///< none, left
  int64_t window = 0, stride = 0;   ///< 0: the model's positions; the window
  int64_t batch_tokens = 4096;      ///< that a worker computes together
  ProgressStyle progress = ProgressStyle::kNone;

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense.
  void check() const;
};

/// Reads records {prompt, response | responses | hypotheses} and writes them with the scores of each answer, in order. A sequence too long for the model is an
/// error, or with truncate "left" its prompt loses its first tokens. Scores that a record has stay; one of the same name is an error. Throws Error that names
/// file, line and id, also for NaN.
void score_stream(const LoadedLanguageModel& model, const text::ChatTemplate& chat, const ScoreStreamOptions& options, int threads);

/// Reads a text and writes its perplexity; one that is more than a double holds is null in JSON, and a warning says so. The text, or each file of it, is begun by the begin symbol, where the tokeniser has one, and ended by the end symbol, and tokenised as for
/// training; so is each document, and they follow one another. All tokens but the first are scored.
void perplexity_stream(const LoadedLanguageModel& model, const ScoreStreamOptions& options, int threads);

}  // namespace seqmill::infer
