#pragma once
// What the unit tests share: a folder of their own, files, errors as values, work in a child process.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace seqmill::test {

/// A new folder that is removed at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "seqmill-test-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  /// The names in the folder, hidden ones too, in order.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

inline std::string put(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
  return path;
}

inline std::string get(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// An Error as a value; exit code 0 means that there was none.
struct Failure {
  std::string message;
  int exit_code = 0;
  bool says(std::string_view part) const { return message.find(part) != std::string::npos; }
};

template <typename Work>
Failure failure_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return {error.what(), error.exit_code()};
  }
  return {};
}

/// Whether check() of such options, changed by `change`, is a usage error.
template <typename Options, typename Change>
bool refused(Change change) {
  Options options;
  change(options);
  return failure_of([&] { options.check(); }).exit_code == kExitUsage;
}

/// Runs `work` in a child process, which ends with the exit code that it returns. Gives the status of waitpid.
template <typename Work>
int in_child(Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      ::_exit(work());
    } catch (...) {
      ::_exit(99);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace seqmill::test
