#pragma once
// The training loop, one for all tools: batches in, loss out, optimiser, schedule, validation, checkpoints, signals, metrics.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/options.h"
#include "io/run_dir.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/task.h"

namespace seqmill::train {

struct TrainerOptions {
  int64_t max_updates = 0;       ///< 0: no limit
  int64_t max_epochs = 0;        ///< 0: no limit
  int64_t usual_epochs = 0;      ///< takes its place where nothing says when training ends; 0: something has to
  std::string max_time;          ///< "90m", "1h30m", "3600s"; all sessions of the run together; empty: no limit
  int64_t accumulate = 0;        ///< micro-batches per update, over all ranks; 0: one per rank
  double clip = 1.0;             ///< largest gradient norm; 0: no clipping
  double ema = 0;                ///< decay of the moving average of the weights; 0: none
  int64_t log_every = 100;       ///< updates
  int64_t validate_every = 0;    ///< updates; 0: at the end of each epoch
  int64_t save_every = 1000;     ///< updates; 0: only when validating and at the end
  int64_t keep_last = 3;
  int64_t keep_best = 1;
  int64_t early_stopping = 0;    ///< validations without gain after which training ends; 0: never
  std::string stop_on = "loss";  ///< which score decides what is best
  std::vector<std::string> scores{"loss", "bleu"};  ///< those that it may be: what the task's validations give
  int64_t average = 0;           ///< at the end: the mean of this many newest checkpoints, as a model directory <run>/average
  int64_t max_skipped = 10;      ///< updates in a row whose loss or gradient is not finite, before giving up
  std::string resume = "auto";   ///< auto, never (the run must be new), must (there must be a checkpoint)
  Schedule schedule;
  OptimizerOptions optimizer;

  void declare(Options& options);
  /// Puts numbers in place of what depends on the number of ranks, and on what else was given.
  void resolve(int ranks);
  void check(int ranks = 1) const;
  bool is_limited() const;  ///< it says when training ends
};

/// Trains until a limit is reached. Leaves ckpt/last (and ckpt/best once a validation gave a finite score). Calls `begins` when nothing
/// stands in the way of the first update any more. Throws Error with exit code 3 when the loss stays non-finite, 128+n after signal n (a
/// checkpoint is written first, unless updates are being skipped just then).
/// Every rank calls it, with options and seed alike; rank 0 writes.
void train(
    Task& task, io::RunDir& run, const TrainerOptions& options, uint64_t seed, bool progress_line, Ranks& ranks,
    const std::function<void()>& begins = [] {});

/// Whether the run already has a checkpoint to go on from, under the rules of `resume`; throws Error where they forbid.
bool will_resume(const io::RunDir& run, const std::string& resume);

/// "1h30m" -> 5400. Throws a usage error.
double parse_duration(const std::string& text);

}  // namespace seqmill::train
