#include "data/reading_progress.h"

#include <algorithm>
#include <chrono>

#include "base/log.h"

namespace seqmill::data {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

ReadingProgress::ReadingProgress(bool line) : line_(line), started_(now()), shown_(started_) {}

ReadingProgress::~ReadingProgress() {
  if (line_) log::status_line("");
}

void ReadingProgress::show(int64_t bytes) {
  const double time = now();
  if (time - shown_ < (line_ ? 0.5 : 10)) return;
  shown_ = time;
  const double megabytes = static_cast<double>(bytes) / 1e6;
  const std::string text = fmt::format("tokenised {:.1f} MB, {:.1f} MB/s", megabytes, megabytes / std::max(1e-3, time - started_));
  if (line_) {
    log::status_line(text);
  } else {
    log::info("{}", text);
  }
}

}  // namespace seqmill::data
