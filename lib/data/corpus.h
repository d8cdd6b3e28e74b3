#pragma once
// A parallel corpus in token ids. The text is read and tokenised once into a file that is then mapped, so that a corpus larger than
// memory costs address space only; the file is reused while its inputs, vocabularies and limits stay the same.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/token_file.h"
#include "text/vocabulary.h"

namespace seqmill::data {

struct CorpusLimits {
  int64_t max_length = 256;  ///< pairs with a side of more tokens than this are left out
  double max_ratio = 0;      ///< and pairs one side of which is longer by this factor; 0: no limit
};

/// What became of the lines.
struct CorpusCounts {
  int64_t lines = 0, kept = 0, empty = 0, too_long = 0, ratio = 0;
  int64_t source_tokens = 0, target_tokens = 0;  ///< of the pairs kept, without begin and end symbols
};

class ParallelCorpus {
 public:
  /// Reads `target` too, or `source` as TSV when `target` is empty; neither can be standard input. `cache` names the file to write or reuse. Throws Error for bad text (file and
  /// line) and when no pair is left.
  ParallelCorpus(const std::string& source, const std::string& target, const text::Vocabulary& source_vocabulary,
                 const text::Vocabulary& target_vocabulary, const CorpusLimits& limits, const std::string& cache);
  /// What another process has just made of its text.
  explicit ParallelCorpus(const std::string& cache);

  int64_t size() const { return counts_.kept; }
  /// A hash of all lengths: what the plan of the batches depends on.
  uint64_t shape() const { return file_.shape(); }
  const CorpusCounts& counts() const { return counts_; }
  int64_t source_length(int64_t pair) const { return file_.length(2 * pair); }
  int64_t target_length(int64_t pair) const { return file_.length(2 * pair + 1); }
  Tokens source(int64_t pair) const { return file_.entry(2 * pair); }
  Tokens target(int64_t pair) const { return file_.entry(2 * pair + 1); }

 private:
  bool open(const std::string& cache, const Fingerprint* fingerprint);

  CorpusCounts counts_;
  TokenFile file_;  ///< entry 2i is the source of pair i, entry 2i + 1 its target
};

}  // namespace seqmill::data
