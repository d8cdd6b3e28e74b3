#pragma once
// A program that is kept running and answers line by line.

#include <sys/types.h>

#include <string>
#include <vector>

namespace seqmill {

class ChildProcess {
 public:
  /// `command` is run by the shell, with what it writes to stderr going where ours goes. Throws Error when it cannot be started.
  explicit ChildProcess(std::string command);
  /// Closes its input and waits for it: a moment for it to end, then SIGTERM for it and what it started, and another before SIGKILL.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Writes lines, and returns as many that it answers, without their ends. After half a minute without an answer a warning asks whether it flushes its output; there is no limit. It may answer before it has read all, or after. Throws Error naming the command when it ends before, with how it
  /// ended and how many lines there were, for a line longer than 16 MiB, and for more lines than were asked for; and what throw_if_stopped() throws.
  std::vector<std::string> ask(const std::vector<std::string>& lines);

 private:
  void write_some(const std::string& text, size_t& written);
  bool read_some(std::vector<std::string>& answers);
  [[noreturn]] void fail_talkative(size_t asked) const;
  [[noreturn]] void fail_ended(size_t answered, size_t asked);
  std::string ending(bool waits);

  std::string command_;
  pid_t process_ = -1;
  int in_ = -1, out_ = -1;  ///< what it reads, what it writes
  bool warned_ = false;
  std::string line_;        ///< of which the end has not come yet
};

}  // namespace seqmill
