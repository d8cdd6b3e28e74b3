#include "base/time_spent.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <set>
#include <string>
#include <thread>

using namespace seqmill;

namespace {

/// Works for at least so long by the clock that is read.
void spend(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

double of(const TimeSpent& spent, Work work) { return spent[static_cast<size_t>(work)]; }

}  // namespace

TEST_CASE("time goes to the innermost kind of work", "[time]") {
  take_time_spent();
  const auto begin = std::chrono::steady_clock::now();
  {
    const Timed loss(Work::kLoss);
    spend(2);
    {
      const Timed product(Work::kProducts);
      spend(3);
      const Timed again(Work::kProducts);
      spend(1);
    }
    spend(2);
  }
  spend(2);
  const double all = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const TimeSpent spent = take_time_spent();
  CHECK(of(spent, Work::kLoss) >= 0.004);
  CHECK(of(spent, Work::kProducts) >= 0.004);
  CHECK(of(spent, Work::kLoss) + of(spent, Work::kProducts) <= all - 0.002);
  for (const Work work : {Work::kBatches, Work::kAttention, Work::kElementwise, Work::kOptimizer, Work::kRanks}) CHECK(of(spent, work) == 0);
  CHECK(take_time_spent() == TimeSpent());
}

TEST_CASE("each thread has its own account", "[time]") {
  take_time_spent();
  std::thread([] { const Timed timed(Work::kElementwise); }).join();
  CHECK(take_time_spent() == TimeSpent());
}

TEST_CASE("time is taken in an open scope too, and a scope that an exception leaves is closed", "[time]") {
  take_time_spent();
  try {
    const Timed timed(Work::kRanks);
    spend(2);
    CHECK(of(take_time_spent(), Work::kRanks) >= 0.002);
    const Timed inner(Work::kLoss);
    throw 1;
  } catch (int) {
  }
  spend(2);
  take_time_spent();
  spend(2);
  CHECK(take_time_spent() == TimeSpent());
}

TEST_CASE("kinds of work have names", "[time]") {
  std::set<std::string> names;
  for (size_t kind = 0; kind < kKindsOfWork; ++kind) names.insert(name_of(static_cast<Work>(kind)));
  CHECK(names.size() == kKindsOfWork);
  CHECK(name_of(Work::kBatches) == std::string("batches"));
  CHECK(name_of(Work::kRanks) == std::string("ranks"));
}
