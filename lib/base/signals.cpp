#include "base/signals.h"

#include <atomic>
#include <csignal>
#include <initializer_list>

namespace seqmill {
namespace {

std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void remember(int number) {
  int none = 0;
  received.compare_exchange_strong(none, number);
  std::signal(number, SIG_DFL);
}

}  // namespace

void catch_stop_signals() {
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
    struct sigaction action {};
    // Ignored by whoever started us (a background job of a script, say): it stays so.
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = remember;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(number, &action, nullptr);
  }
}

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

int stop_signal() { return received.load(); }

}  // namespace seqmill
