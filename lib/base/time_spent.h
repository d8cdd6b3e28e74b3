#pragma once
// Where the time of a thread goes, by kind of work. Each thread has its own account; what others do for it in parallel_for() is time that it
// spends there. Two readings of the clock for each piece of work, so pieces should be no smaller than some microseconds.

#include <array>
#include <cstddef>

namespace seqmill {

enum class Work { kBatches, kProducts, kAttention, kLoss, kElementwise, kOptimizer, kRanks, kSampling, kRewards };

constexpr std::size_t kKindsOfWork = static_cast<std::size_t>(Work::kRewards) + 1;

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

  Work work() const { return work_; }

 private:
  const Timed* outer_;
  Work work_;
};

/// What this thread has spent since it last asked, up to now, in an open scope too.
TimeSpent take_time_spent();

}  // namespace seqmill
