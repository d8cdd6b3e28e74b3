#pragma once
// Directories, checked: what fails is an Error that names the path and the reason.

#include <functional>
#include <string>
#include <vector>

namespace seqmill::io {

bool is_directory(const std::string& path);
/// What lies in a directory, hidden names too, in order.
std::vector<std::string> names_in(const std::string& directory);
/// With its parents, unless it is there.
void make_directory(const std::string& path);
void remove_tree(const std::string& path);
void rename_checked(const std::string& from, const std::string& to);
/// fsync of all files below, then of the directories that name them.
void sync_tree(const std::string& directory);

/// Makes a directory that must not exist yet: `write(directory)` fills a temporary one beside it, ".<name>.tmp-<process>", which is synced and gets its
/// name when it is complete. On any error it is removed. A killed process may leave it.
void write_directory(const std::string& path, const std::function<void(const std::string& directory)>& write);

/// A new directory among the system's temporary files, removed at the end of the scope.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace seqmill::io
