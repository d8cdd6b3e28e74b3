#include "base/time_spent.h"

#include <chrono>

namespace seqmill {
namespace {

using Clock = std::chrono::steady_clock;

struct Account {
  TimeSpent spent{};
  const Timed* open = nullptr;
  Clock::time_point since;
};

thread_local Account account;

/// Gives the time since the last reading to `work`.
void settle(Work work) {
  const Clock::time_point now = Clock::now();
  account.spent[static_cast<std::size_t>(work)] += std::chrono::duration<double>(now - account.since).count();
  account.since = now;
}

}  // namespace

const char* name_of(Work work) {
  constexpr std::array<const char*, kKindsOfWork> names{"batches", "products", "attention", "loss", "elementwise", "optimizer", "ranks", "sampling", "rewards"};
  return names[static_cast<std::size_t>(work)];
}

Timed::Timed(Work work) : outer_(account.open), work_(work) {
  if (outer_) {
    settle(outer_->work());
  } else {
    account.since = Clock::now();
  }
  account.open = this;
}

Timed::~Timed() {
  settle(work_);
  account.open = outer_;
}

TimeSpent take_time_spent() {
  if (account.open) settle(account.open->work());
  const TimeSpent spent = account.spent;
  account.spent = {};
  return spent;
}

}  // namespace seqmill
