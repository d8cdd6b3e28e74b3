#pragma once
// Where the time of a process goes, by kind of work, as its leading thread sees it: what other threads do in parallel_for() meanwhile counts as
// that thread's. Two readings of the clock for each piece of work, so pieces should be no smaller than some microseconds.

#include <array>
#include <cstddef>

namespace seqmill {

enum class Work { kBatches, kProducts, kAttention, kLoss, kRows, kOptimizer, kRanks };

constexpr std::size_t kKindsOfWork = 7;

/// As in logs: "batches", "products", ...
const char* name_of(Work work);

/// Seconds by kind of work.
using TimeSpent = std::array<double, kKindsOfWork>;

/// The time from here to the end of the scope goes to `work`, but for that of scopes inside, which goes to theirs.
class Timed {
 public:
  explicit Timed(Work work);
  ~Timed();
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  const Timed* outer_;
  Work work_;
};

/// What this thread has spent since it last asked.
TimeSpent take_time_spent();

}  // namespace seqmill
