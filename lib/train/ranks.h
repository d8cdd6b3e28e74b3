#pragma once
// Data-parallel training: several processes, each with its own batches, whose gradients are summed. Over c10d (Gloo for the CPU, NCCL for
// CUDA where LibTorch has it). One process alone is a group of one, for which nothing here costs anything.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/launch.h"
#include "base/options.h"

namespace seqmill::train {

struct RanksOptions {
  double timeout = 60;     ///< seconds without a sign of life, at the start too, after which a rank is given up, and with it the training
  double patience = 3600;  ///< seconds that a living rank may keep the others waiting

  void declare(Options& options);
};

class Ranks {
 public:
  /// A process alone.
  Ranks();
  /// Waits until all ranks are there. Throws Error naming those that did not come, or when rank 0 cannot listen or be reached. `device`: where the
  /// tensors lie that are summed.
  Ranks(const Launch& launch, const RanksOptions& options, at::Device device);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return rank_; }
  int count() const { return count_; }
  bool first() const { return rank_ == 0; }

  // Every rank has to call these, in the same order. When another one has ended, or gives no sign of life, they throw Error naming it.

  void barrier();
  /// What each rank gives, by rank.
  std::vector<std::vector<double>> gather(const std::vector<double>& values);
  /// The sums of them, which all have equally many.
  std::vector<double> sum(const std::vector<double>& values);
  std::vector<std::string> gather_text(const std::string& bytes);
  /// The value that rank 0 gives.
  double from_first(double value);
  /// Every rank gets the tensor of rank 0.
  void broadcast(at::Tensor tensor);
  /// Begins to sum a tensor over the ranks, in place; it must stay as it is until finish_sums() returns.
  void begin_sum(const at::Tensor& tensor);
  void finish_sums();
  /// Throws a usage error naming the first rank and line that differ from rank 0's.
  void expect_same(const std::string& what, const std::string& text);
  /// Rank 0 works first, the others when it is done.
  void first_then_others(const std::function<void()>& first, const std::function<void()>& others);
  /// All work at the same time. An Error that every one of them has, as of data that all read, is said once.
  void all_at_once(const std::function<void()>& work);

  /// All ranks are about to end with the same error, which rank 0 alone reports.
  void end_together();
  /// Tells the others that this rank ends with an error of its own; they then end too, with the same exit code.
  void leave(const std::string& reason, int exit_code) noexcept;

 private:
  struct Group;
  void wait(const std::function<bool()>& is_done, const std::function<void()>& take) const;
  void abandon() noexcept;

  int rank_ = 0, count_ = 1;
  bool ends_together_ = false;
  std::unique_ptr<Group> group_;  ///< null: alone
};

/// Calls work(ranks) with all ranks connected; an exception of it is passed on to the others before it is thrown. Messages of ranks other than 0
/// are errors only, and say whose they are.
void run_in_ranks(const Launch& launch, const RanksOptions& options, at::Device device, const std::function<void(Ranks&)>& work);

}  // namespace seqmill::train
