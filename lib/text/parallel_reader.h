#pragma once
// Aligned text: two files of equally many lines, or one TSV file of two columns.

#include <memory>
#include <string>

#include "io/line_reader.h"

namespace seqmill::text {

class ParallelReader {
 public:
  /// `target` empty: `source` is a TSV file "source<TAB>target". Files may be .gz.
  ParallelReader(const std::string& source, const std::string& target, io::LineLimits limits = {});
  ~ParallelReader();

  /// The next pair; false when both files end. Throws Error when one ends before the other ("a.de ends after line 98, a.en goes on: ..."),
  /// and "<file>:<line>: ..." when a TSV line has not exactly two fields.
  bool next(std::string& source, std::string& target);
  int64_t line_number() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seqmill::text
