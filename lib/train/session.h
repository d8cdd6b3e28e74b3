#pragma once
// One call of a training tool: its ranks connected, its run directory held by rank 0 and told what happens in it.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

#include "base/launch.h"
#include "base/options.h"
#include "io/run_dir.h"
#include "train/ranks.h"
#include "train/trainer.h"

namespace seqmill::train {

struct SessionOptions {
  std::string run, device = "cpu", precision = "auto";
  TrainerOptions trainer;
  RanksOptions ranks;

  void declare_run(Options& options);      ///< "run", "device", "precision"
  void declare_training(Options& options);  ///< those of the trainer and of ranks
  /// Puts what they stand for in place of "auto" and the like.
  void resolve(const Launch& launch);
};

/// How the tool was called.
struct SessionCall {
  std::string config_yaml, command_line, host, started;
  int threads = 1;
  Launch launch;
};

/// What there is in a session.
struct Session {
  Ranks& ranks;
  io::RunDir& run;
  at::Device device;
  bool resumes = false;         ///< from a checkpoint
  std::function<void()> begins;  ///< for train(): writes config.yaml
};

/// Calls work(session) in every rank.
void run_session(const SessionOptions& options, const SessionCall& call, const std::function<void(Session&)>& work);

}  // namespace seqmill::train
