#pragma once
// Stopping on request. SIGTERM, SIGINT and SIGUSR1 set a flag that long work looks at between steps; a second signal of
// the same kind kills at once, as it does by default.

namespace seqmill {

/// Installs the handlers. SIGPIPE is left at its default, so that a filter whose reader went away ends quietly.
void catch_stop_signals();

/// For a filter, which has nothing to save but files to clear away: SIGTERM, SIGINT and SIGHUP set the flag.
void catch_end_signals();

/// For programs that talk to others over the network: a connection that breaks is an error of the call and does not end the process.
void ignore_broken_pipes();

/// The number of the first signal that asked this process to stop, or 0.
int stop_signal();

/// Throws Error with the exit code 128 + n when signal n has asked this process to stop, unless that is put off.
void throw_if_stopped();

/// While one exists throw_if_stopped() throws nothing, in any thread: whoever holds it stops when it can save what was done.
class StopsLater {
 public:
  StopsLater();
  ~StopsLater();
  StopsLater(const StopsLater&) = delete;
  StopsLater& operator=(const StopsLater&) = delete;
};

}  // namespace seqmill
