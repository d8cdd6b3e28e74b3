#pragma once
// The work of nmt-translate: a stream of lines through a Translator.

#include <string>

#include "base/options.h"
#include "infer/translator.h"

namespace seqmill::infer {

struct StreamOptions {
  std::string input = "-", output = "-";
  std::string prefix;        ///< file of forced beginnings, one per line
  std::string score;         ///< file of targets to score instead of translating
  bool json = false;         ///< one record per line, also for a single translation
  bool stream = false;       ///< answer whenever no further line is waiting
  int64_t window = 4096;     ///< lines that are read, sorted by length and translated together
  int64_t n_best = 1;        ///< more than one: records
  std::string origin;        ///< the model's name in the records
  bool progress = false;     ///< rewrite a line about it on standard error

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense.
  void check() const;
};

/// Reads, translates (or scores) and writes in input order: one line out for one line in.
void translate_stream(Translator& translator, const StreamOptions& options);

}  // namespace seqmill::infer
