#include "base/signals.h"

#include <atomic>
#include <csignal>
#include <initializer_list>

#include "base/error.h"

namespace seqmill {
namespace {

std::atomic<int> received{0};
std::atomic<int> put_off{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void remember(int number) {
  int none = 0;
  received.compare_exchange_strong(none, number);
  std::signal(number, SIG_DFL);
}

void catch_all(std::initializer_list<int> numbers) {
  for (const int number : numbers) {
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

}  // namespace

void catch_stop_signals() { catch_all({SIGTERM, SIGINT, SIGUSR1}); }
void catch_end_signals() { catch_all({SIGTERM, SIGINT, SIGHUP}); }

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

int stop_signal() { return received.load(); }

StopsLater::StopsLater() { ++put_off; }
StopsLater::~StopsLater() { --put_off; }

void throw_if_stopped() {
  if (put_off > 0) return;
  const int number = stop_signal();
  if (number != 0) throw Error(fmt::format("stopped by signal {}", number), kExitSignalBase + number);
}

}  // namespace seqmill
