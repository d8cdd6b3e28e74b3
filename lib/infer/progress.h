#pragma once
// How far long work has come, told to people on standard error.

#include <string>

#include "base/log.h"

namespace seqmill::infer {

/// A line that is rewritten, as on a terminal, or a message now and then.
enum class ProgressStyle { kNone, kRewritten, kMessages };

/// What suits a call: `rewrites` for a terminal, where results would `mingle` with a rewritten line.
inline ProgressStyle progress_style(bool quiet, bool rewrites, bool mingles) {
  if (quiet) return ProgressStyle::kNone;
  if (!rewrites) return ProgressStyle::kMessages;
  return mingles ? ProgressStyle::kNone : ProgressStyle::kRewritten;
}

class Progress {
 public:
  explicit Progress(ProgressStyle style) : style_(style) {}

  /// Whether something is to be shown, `now` seconds after the start; then not again for a while.
  bool is_due(double now) {
    const double interval = style_ == ProgressStyle::kRewritten ? 0.5 : 10;
    if (style_ == ProgressStyle::kNone || now - shown_ < interval) return false;
    shown_ = now;
    return true;
  }
  void show(const std::string& text) const {
    if (style_ == ProgressStyle::kRewritten) log::status_line(text);
    else log::info("{}", text);
  }

 private:
  ProgressStyle style_;
  double shown_ = 0;
};

}  // namespace seqmill::infer
