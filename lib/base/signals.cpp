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
    action.sa_handler = remember;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(number, &action, nullptr);
  }
}

int stop_signal() { return received.load(); }

}  // namespace seqmill
