#pragma once
// The one exception type of the project. `what()` is the whole message for the user; the exit code is part of the contract:
// 1 data, input/output or runtime; 2 usage or configuration; 3 diverged or a gate failed; 128+n stopped by signal n.

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace seqmill {

enum ExitCode : int { kExitDone = 0, kExitFailure = 1, kExitUsage = 2, kExitDiverged = 3, kExitSignalBase = 128 };

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, int exit_code = kExitFailure)
      : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

/// Data, input/output or runtime error (exit 1). The message names the file, the line or record, what was found and expected.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...), kExitFailure);
}

/// Wrong flag, configuration key or value (exit 2).
template <typename... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...), kExitUsage);
}

/// `fail` with the reason of `errno` at the end: "<message>: No space left on device".
[[noreturn]] void fail_errno(const std::string& message);

}  // namespace seqmill
