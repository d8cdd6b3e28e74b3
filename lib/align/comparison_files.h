#pragma once
// The files of comparisons that a model is trained with, and how much of a record it sees.

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "text/comparisons.h"

namespace seqmill::align {

struct ComparisonFiles {
  std::vector<std::string> train, valid;
  text::ComparisonOptions records;
  int64_t window = 0;  ///< tokens that the model sees of a prompt with an answer; 0: what it has positions for, at most 512

  void declare(Options& options);
  /// Throws a usage error that names what was not given: the model that a training begins with, its run, or files.
  void check_given(const std::string& model, const std::string& run) const;
  /// Throws a usage error for files that cannot be read twice, and for a window that the model has no positions for; sets the window.
  void resolve(int64_t max_positions);
};

}  // namespace seqmill::align
