#include "base/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"

extern char** environ;

namespace seqmill {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr size_t kLongestLine = size_t{1} << 24;

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail_errno("cannot make a pipe");
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    if (read_end >= 0) ::close(read_end);
    if (write_end >= 0) ::close(write_end);
  }
  static int take(int& end) {
    const int taken = end;
    end = -1;
    return taken;
  }
};

/// While it lives, this thread's writes to a pipe that nobody reads are errors, and end no process.
class NoBrokenPipes {
 public:
  NoBrokenPipes() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoBrokenPipes() {
    const timespec at_once{0, 0};
    while (!was_pending_ && ::sigtimedwait(&pipe_, nullptr, &at_once) < 0 && errno == EINTR) continue;
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t pipe_, before_;
  bool was_pending_;
};

}  // namespace

ChildProcess::ChildProcess(std::string command) : command_(std::move(command)) {
  Pipe input, output;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.read_end, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output.write_end, STDOUT_FILENO);
  // Signals that we ignore or hold back are its own affair.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  // A group of its own, so that whatever it starts can be stopped with it.
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  const char* arguments[] = {"sh", "-c", command_.c_str(), nullptr};
  const int error = ::posix_spawn(&process_, "/bin/sh", &actions, &attributes, const_cast<char**>(arguments), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    errno = error;
    fail_errno("cannot start '" + command_ + "'");
  }
  in_ = Pipe::take(input.write_end);
  out_ = Pipe::take(output.read_end);
  ::fcntl(in_, F_SETFL, ::fcntl(in_, F_GETFL) | O_NONBLOCK);
  ::fcntl(out_, F_SETFL, ::fcntl(out_, F_GETFL) | O_NONBLOCK);
}

ChildProcess::~ChildProcess() {
  const pid_t group = process_;
  ::close(in_);
  ::close(out_);
  for (const int signal : {0, SIGTERM, SIGKILL}) {
    if (process_ < 0) break;
    if (signal != 0) ::kill(-process_, signal);
    ending(true);
  }
  if (group > 0) ::kill(-group, SIGTERM);  // what it has left behind
}

std::vector<std::string> ChildProcess::ask(const std::vector<std::string>& lines) {
  constexpr int kMoment = 100;  // milliseconds
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  std::vector<std::string> answers;
  size_t written = 0;
  // What it has said since it was asked last belongs to no question.
  pollfd early{out_, POLLIN, 0};
  if (::poll(&early, 1, 0) > 0 && (early.revents & POLLIN) != 0) read_some(answers);
  if (!answers.empty()) fail("'{}' said something before it was asked; expected one line for each that it is given", command_);
  auto heard = std::chrono::steady_clock::now();
  while (answers.size() < lines.size()) {
    throw_if_stopped();
    // Who waits for a program that may never answer stops at once.
    const bool waits = std::chrono::steady_clock::now() - heard > kPatience;
    if (waits && stop_signal() != 0) throw Error(fmt::format("stopped by signal {} while '{}' did not answer", stop_signal(), command_), kExitSignalBase + stop_signal());
    if (!warned_ && waits) {
      warned_ = true;
      log::warn("'{}' has not answered for {} seconds: does it flush each line that it writes?", command_, kPatience.count());
    }
    pollfd ends[] = {{out_, POLLIN, 0}, {written < text.size() ? in_ : -1, POLLOUT, 0}};
    if (::poll(ends, 2, kMoment) < 0 && errno != EINTR) fail_errno("'" + command_ + "'");
    if (ends[1].revents != 0) write_some(text, written);
    if (ends[0].revents == 0) continue;
    heard = std::chrono::steady_clock::now();
    if (!read_some(answers)) fail_ended(answers.size(), lines.size());
  }
  if (answers.size() > lines.size()) fail_talkative(lines.size());
  return answers;
}

void ChildProcess::fail_talkative(size_t asked) const { fail("'{}' answered more than the {} lines that it was asked; expected one line for each", command_, asked); }

void ChildProcess::write_some(const std::string& text, size_t& written) {
  const NoBrokenPipes quietly;
  const ssize_t count = ::write(in_, text.data() + written, text.size() - written);
  if (count > 0) written += static_cast<size_t>(count);
  if (count >= 0 || errno == EAGAIN || errno == EINTR) return;
  // It reads no more. What it has answered by then may be all; else its end will be seen there.
  if (errno == EPIPE) written = text.size();
  else fail_errno("cannot write to '" + command_ + "'");
}

/// False at the end.
bool ChildProcess::read_some(std::vector<std::string>& answers) {
  char buffer[1 << 16];
  const ssize_t count = ::read(out_, buffer, sizeof buffer);
  if (count == 0) return false;
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return true;
    fail_errno("cannot read from '" + command_ + "'");
  }
  const char *begin = buffer, *end = buffer + count;
  while (const void* found = std::memchr(begin, '\n', static_cast<size_t>(end - begin))) {
    const char* line_end = static_cast<const char*>(found);
    answers.push_back(line_ + std::string(begin, line_end));
    line_.clear();
    begin = line_end + 1;
  }
  line_.append(begin, end);
  if (line_.size() > kLongestLine) fail("'{}' answered a line of more than {} bytes", command_, kLongestLine);
  return true;
}

void ChildProcess::fail_ended(size_t answered, size_t asked) {
  const std::string how = ending(true);
  fail("'{}' {} after {} of {} answers; expected one line for each that it is given, and that it stays up", command_, how.empty() ? "closed its output" : how, answered, asked);
}

/// How it ended; "" if it has not. `waits`: for a moment.
std::string ChildProcess::ending(bool waits) {
  if (process_ < 0) return "ended";
  int status = 0;
  for (int tries = waits ? 50 : 1; tries > 0; --tries) {
    const pid_t found = ::waitpid(process_, &status, WNOHANG);
    if (found == process_) {
      process_ = -1;
      if (WIFSIGNALED(status)) return fmt::format("was killed by signal {}", WTERMSIG(status));
      return fmt::format("ended with exit code {}", WEXITSTATUS(status));
    }
    if (tries > 1) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return "";
}

}  // namespace seqmill
