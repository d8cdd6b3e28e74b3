#pragma once
// Shows how far the reading of a corpus is.

#include <cstdint>

namespace seqmill::data {

class ReadingProgress {
 public:
  /// `line`: in place, by a status line; else one message in a while.
  explicit ReadingProgress(bool line);
  ~ReadingProgress();
  ReadingProgress(const ReadingProgress&) = delete;
  ReadingProgress& operator=(const ReadingProgress&) = delete;

  void show(int64_t bytes);

 private:
  bool line_;
  double started_, shown_;
};

}  // namespace seqmill::data
