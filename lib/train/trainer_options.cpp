#include <cctype>
#include <limits>

#include "base/error.h"
#include "base/strings.h"
#include "train/trainer.h"

namespace seqmill::train {

void TrainerOptions::declare(Options& options) {
  options.group("Training");
  options.add("max-updates", max_updates, "Stop after this many updates; 0: no limit").range(0);
  const std::string otherwise = usual_epochs > 0 ? fmt::format(", but {} where there is no other limit either", usual_epochs) : "";
  options.add("max-epochs", max_epochs, "Stop after this many passes over the data; 0: no limit" + otherwise).range(0);
  options.add("max-time", max_time, "Stop after this much training time, e.g. 90m or 1h30m").placeholder("TIME");
  options.add("accumulate", accumulate, "Batches whose gradients make one update, over all processes; 0: one per process").range(0);
  schedule.declare(options);
  optimizer.declare(options);
  options.add("clip", clip, "Largest gradient norm; 0: no clipping").range(0);
  options.add("ema", ema, "Decay of a moving average of the weights, which is then what is validated and used; 0: none")
      .range(0, 0.999999);
  options.add("early-stopping", early_stopping, "Stop after this many validations without gain; 0: never").range(0);
  options.add("stop-on", stop_on, "The score that decides what is best").one_of(scores);
  options.add("max-skipped", max_skipped, "Updates in a row that may be skipped as not finite before giving up").range(0);

  options.group("Checkpoints and log");
  options.add("resume", resume, "Go on from the last checkpoint: if there is one; never; it must be there")
      .one_of({"auto", "never", "must"})
      .transient();
  options.add("save-every", save_every, "Updates between checkpoints; 0: when validating and at the end").range(0);
  options.add("validate-every", validate_every, "Updates between validations; 0: at the end of each epoch").range(0);
  options.add("log-every", log_every, "Updates between lines of the log").range(1);
  options.add("keep-last", keep_last, "Newest checkpoints to keep").range(1);
  options.add("keep-best", keep_best, "Best checkpoints to keep").range(1);
  options.add("average", average, "At the end write the mean of this many newest checkpoints to RUN/average; 0: no").range(0);
}

void TrainerOptions::resolve(int ranks) {
  if (accumulate == 0) accumulate = ranks;
  if (!is_limited()) max_epochs = usual_epochs;
}

bool TrainerOptions::is_limited() const { return max_updates > 0 || max_epochs > 0 || !max_time.empty() || early_stopping > 0; }

void TrainerOptions::check(int ranks) const {
  if (accumulate % ranks != 0) {
    fail_usage("--accumulate {}: {} processes cannot share {} batches evenly; take a multiple of {}", accumulate, ranks, accumulate, ranks);
  }
  if (!is_limited()) {
    fail_usage("training would never end: give --max-updates, --max-epochs, --max-time or --early-stopping");
  }
  if (average > keep_last) fail_usage("--average {} needs --keep-last {} or more, found {}", average, average, keep_last);
  schedule.check(max_updates == 0 && max_epochs > 0 ? std::numeric_limits<int64_t>::max() : max_updates);
  if (!max_time.empty() && parse_duration(max_time) <= 0) fail_usage("--max-time {}: no time to train in", max_time);
}

double parse_duration(const std::string& text) {
  double seconds = 0;
  std::string digits;
  const auto wrong = [&] { fail_usage("--max-time: '{}' is not a time such as 45s, 90m or 1h30m", text); };
  for (const char c : text) {
    if (std::isdigit(static_cast<unsigned char>(c)) || c == '.') {
      digits += c;
      continue;
    }
    double number = 0;
    if (!parse_double(digits, number)) wrong();
    if (c != 'h' && c != 'm' && c != 's') wrong();
    seconds += number * (c == 'h' ? 3600 : c == 'm' ? 60 : 1);
    digits.clear();
  }
  if (!digits.empty()) wrong();
  return seconds;
}

}  // namespace seqmill::train
