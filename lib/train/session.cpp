#include "train/session.h"

#include "base/error.h"
#include "base/strings.h"
#include "tensor/runtime.h"
#include "train/run_record.h"

namespace seqmill::train {
namespace {

/// Ranks may have other numbers of threads, and nothing else.
std::string without_threads(const std::string& config_yaml) {
  std::string kept;
  for (const std::string& line : split(config_yaml, '\n')) {
    if (!starts_with(line, "threads:")) kept += line + "\n";
  }
  return kept;
}

class SessionRun {
 public:
  SessionRun(const SessionOptions& options, const SessionCall& call, at::Device device, const std::function<void(Session&)>& work, Ranks& ranks)
      : options_(options), call_(call), device_(device), work_(work), ranks_(ranks) {}

  void run() {
    ranks_.expect_same("configuration", without_threads(call_.config_yaml));
    if (ranks_.first()) return lead();
    ranks_.barrier();
    io::RunDir run(options_.run, io::RunDir::Role::kReader);
    work(run, [] {});
  }

 private:
  /// Rank 0 holds the run directory and records what happens in it.
  void lead() {
    io::RunDir run(options_.run);
    RunRecord record(run, call_.config_yaml, call_.command_line, call_.host, call_.started);
    ranks_.barrier();
    try {
      work(run, [&] { record.write_config(); });
      record.finish(kExitDone);
    } catch (const Error& error) {
      record.finish(error.exit_code());
      throw;
    } catch (...) {
      record.finish(kExitFailure);
      throw;
    }
  }

  void work(io::RunDir& run, const std::function<void()>& begins) {
    const bool resumes = ranks_.from_first(ranks_.first() && will_resume(run, options_.trainer.resume) ? 1 : 0) > 0;
    Session session{ranks_, run, device_, resumes, begins};
    work_(session);
  }

  const SessionOptions& options_;
  const SessionCall& call_;
  at::Device device_;
  const std::function<void(Session&)>& work_;
  Ranks& ranks_;
};

}  // namespace

void SessionOptions::declare_run(Options& options) {
  options.group("Run");
  options.add("run", run, "Directory of the run; made when missing, gone on with when it holds checkpoints").placeholder("DIR");
  options.add("device", device, "Where to compute: cpu, cuda or cuda:N");
  options.add("precision", precision, "Products of training: bf16 where the CPU has it, fp32, bf16").one_of({"auto", "fp32", "bf16"});
}

void SessionOptions::declare_training(Options& options) {
  trainer.declare(options);
  ranks.declare(options);
}

void SessionOptions::resolve(const Launch& launch) {
  precision = tensor::name_of(tensor::parse_precision(precision));
  trainer.resolve(launch.ranks);
}

void run_session(const SessionOptions& options, const SessionCall& call, const std::function<void(Session&)>& work) {
  options.trainer.check(call.launch.ranks);
  // Ranks of one machine take a GPU each.
  const bool shares = options.device == "cuda" && call.launch.ranks > 1 && tensor::count_gpus() > 0;
  const at::Device device =
      tensor::parse_device(shares ? fmt::format("cuda:{}", call.launch.local_rank % tensor::count_gpus()) : options.device);
  tensor::share_one_heap();
  tensor::set_up_runtime(call.threads);
  tensor::set_precision(tensor::parse_precision(options.precision));
  run_in_ranks(call.launch, options.ranks, device, [&](Ranks& ranks) { SessionRun(options, call, device, work, ranks).run(); });
}

}  // namespace seqmill::train
