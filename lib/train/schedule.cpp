#include "train/schedule.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace seqmill::train {

void Schedule::declare(Options& options) {
  options.add("learning-rate", rate, "Peak learning rate").range(0);
  options.add("schedule", kind, "Course of the learning rate after the warm-up")
      .one_of({"inverse-sqrt", "cosine", "linear", "constant"});
  options.add("warmup", warmup, "Updates of linear rise to the peak").range(0);
  options.add("min-learning-rate", min_rate, "Where cosine and linear end").range(0);
}

void Schedule::check(int64_t total) const {
  if ((kind == "cosine" || kind == "linear") && total <= 0) fail_usage("--schedule {} needs --max-updates or --max-epochs", kind);
  if ((kind == "cosine" || kind == "linear") && warmup >= total) {
    fail_usage("--schedule {}: the warm-up of {} updates never ends within --max-updates {}", kind, warmup, total);
  }
  if ((kind == "inverse-sqrt" || kind == "constant") && min_rate > 0) {
    fail_usage("--min-learning-rate has no effect with --schedule {}", kind);
  }
  if (min_rate > rate) fail_usage("--min-learning-rate {} is above --learning-rate {}", min_rate, rate);
}

double Schedule::at(int64_t update, int64_t total) const {
  const auto now = static_cast<double>(update), rise = static_cast<double>(std::max<int64_t>(1, warmup));
  if (update < warmup) return rate * now / rise;
  if (kind == "constant") return rate;
  if (kind == "inverse-sqrt") return rate * std::sqrt(rise / std::max(now, rise));
  const double span = std::max(1.0, static_cast<double>(total) - static_cast<double>(warmup));
  const double done = std::clamp((now - static_cast<double>(warmup)) / span, 0.0, 1.0);
  const double share = kind == "cosine" ? 0.5 * (1 + std::cos(3.14159265358979323846 * done)) : 1 - done;
  return min_rate + (rate - min_rate) * share;
}

}  // namespace seqmill::train
