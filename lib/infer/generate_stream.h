#pragma once
// The work of lm-generate: a stream of prompts through a Generator, one record out for one in and in input order.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/options.h"
#include "infer/generator.h"
#include "infer/progress.h"
#include "text/chat.h"

namespace seqmill::infer {

struct GenerateStreamOptions {
  std::string input = "-", output = "-";
  std::string format = "jsonl";     ///< jsonl, text
  std::string truncate = "none";    ///< none, left
  bool resume = false;              ///< go on with an output file that another call has begun
  bool stream = false;              ///< write each record as soon as it is there, and never wait to fill batches
  bool skip_bad = false;            ///< leave bad records out instead of stopping
  std::string origin;               ///< the model's name in the records
  ProgressStyle progress = ProgressStyle::kNone;
  std::vector<std::pair<std::string, std::string>> computed_by;  ///< further options that texts depend on: a resumed file must be of a call that had the same

  /// Optional: called with the tokens of a sequence, prompt and all that may be new, that is longer than those before it. What it throws is an error of the record.
  std::function<void(int64_t tokens)> check_length;

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense.
  void check() const;
};

/// Reads prompts, generates and writes. A prompt that leaves no room for a token (or min_new_tokens of them) in the model is an error; with truncate "left" it
/// loses as many of its first tokens as that takes. Generation ends at the last position at the latest. Throws Error that names file, line and id.
void generate_stream(const LoadedLanguageModel& model, const text::ChatTemplate& chat, const GeneratorOptions& generation,
                     const GenerateStreamOptions& options, int threads, uint64_t seed);

}  // namespace seqmill::infer
