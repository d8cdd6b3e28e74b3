#pragma once
// The vocabularies of a run: given, or trained on the training text, and always kept in the run directory.

#include <string>

#include "base/options.h"
#include "infer/vocabularies.h"
#include "io/run_dir.h"

namespace seqmill::train {

struct VocabularyOptions {
  std::string joint, source, target;  ///< given models
  int64_t size = 0;                   ///< to train
  bool separate = false;
  std::string type = "bpe";
  double character_coverage = 1.0;
  bool byte_fallback = true;

  void declare(Options& options);
};

/// Copies or trains the vocabularies into the run and loads them. A run with checkpoints keeps those it has; given ones must then be the same.
infer::Vocabularies prepare_vocabularies(const VocabularyOptions& options, const std::string& train_source,
                                         const std::string& train_target, const io::RunDir& run, int threads);

}  // namespace seqmill::train
