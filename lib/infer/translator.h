#pragma once
// Lines in, translations out: tokenisation, batches sorted by length, search on several workers, detokenisation.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "infer/translation_model.h"
#include "search/search.h"

namespace seqmill::infer {

struct Translation {
  std::string text;
  double logprob = 0;   ///< natural log of the probability of the target tokens
  double score = 0;     ///< what the search ranks by
  int64_t length = 0;   ///< target tokens, without the end symbol
  bool finished = true; ///< false: cut off at the length limit
};

struct TranslatorOptions {
  int64_t batch_tokens = 1024;  ///< source tokens per batch; the result does not depend on it
  int64_t max_source = 1024;    ///< longer sources are cut to this many tokens, and counted
};

struct TranslatorCounts {
  int64_t lines = 0, empty = 0, cut = 0, unfinished = 0, source_tokens = 0, target_tokens = 0;
};

class Translator {
 public:
  /// The models vote (probabilities are averaged); they must share their vocabularies. They are used by `threads` workers, each on its own batch.
  Translator(const std::vector<const TranslationModel*>& models, const Vocabularies& vocabularies, const search::SearchOptions& search,
             const TranslatorOptions& options, int threads, uint64_t seed);

  /// For each line its translations, best first; none for a blank line. `prefixes` is empty or has one forced beginning per line.
  /// `first_line` numbers the lines for their sampling streams.
  std::vector<std::vector<Translation>> translate(const std::vector<std::string>& lines,
                                                  const std::vector<std::string>& prefixes = {}, int64_t first_line = 0);

  /// log p of each target given its source, end symbol included.
  std::vector<Translation> score(const std::vector<std::string>& lines, const std::vector<std::string>& targets);

  const TranslatorCounts& counts() const { return counts_; }
  /// Calls `batch_done` with the number of lines of each batch, from one worker at a time.
  void on_progress(std::function<void(int64_t lines)> batch_done) { batch_done_ = std::move(batch_done); }

 private:
  std::vector<std::vector<size_t>> plan(const std::vector<Tokens>& sources, const std::vector<Tokens>* targets) const;
  Tokens encode_source(const std::string& line);
  /// Throws Error naming the line (counted from 0) when the model has no positions for so long a text.
  Tokens encode_target(const std::string& text, const char* what, size_t line) const;
  void for_each_batch(const std::vector<std::vector<size_t>>& batches,
                      const std::function<void(const std::vector<size_t>&)>& work) const;

  std::vector<const TranslationModel*> models_;
  Vocabularies vocabularies_;
  search::SearchOptions search_;
  TranslatorOptions options_;
  int threads_;
  uint64_t seed_;
  TranslatorCounts counts_;
  std::function<void(int64_t)> batch_done_;
};

}  // namespace seqmill::infer
