#include "io/directory.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "io/descriptor.h"
#include "io/output.h"

namespace seqmill::io {

namespace fs = std::filesystem;

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator entry(directory, code), end; !code && entry != end; entry.increment(code)) {
    names.push_back(entry->path().filename().string());
  }
  if (code) fail("cannot read the directory {}: {}", directory, code.message());
  std::sort(names.begin(), names.end());
  return names;
}

void make_directory(const std::string& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (!code && !is_directory(path)) code = std::make_error_code(std::errc::not_a_directory);
  if (code) fail("cannot make the directory {}: {}", path, code.message());
}

void remove_tree(const std::string& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (code) fail("cannot remove {}: {}", path, code.message());
}

void rename_checked(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail_errno(fmt::format("cannot rename {} to {}", from, to));
}

void sync_tree(const std::string& directory) {
  for (const std::string& name : names_in(directory)) {
    const std::string path = directory + "/" + name;
    if (is_directory(path)) {
      sync_tree(path);
    } else {
      const Descriptor file = open_for_reading(path);
      sync(file.get(), path);
    }
  }
  sync_directory(directory);
}

void write_directory(const std::string& path, const std::function<void(const std::string& directory)>& write) {
  fs::path target = fs::path(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "models/int8/"
  std::error_code code;
  if (fs::symlink_status(target, code).type() != fs::file_type::not_found) {
    if (code) fail("cannot make {}: {}", path, code.message());
    fail("{} exists; give another name or remove it", path);
  }
  const std::string parent = target.has_parent_path() ? target.parent_path().string() : ".";
  make_directory(parent);
  const std::string temporary = fmt::format("{}/.{}.tmp-{}", parent, target.filename().string(), ::getpid());
  try {
    remove_tree(temporary);
    make_directory(temporary);
    write(temporary);
    sync_tree(temporary);
    rename_checked(temporary, target.string());
  } catch (...) {
    fs::remove_all(temporary, code);
    throw;
  }
  sync_directory(parent);
}

TemporaryDirectory::TemporaryDirectory() {
  std::error_code code;
  path_ = (fs::temp_directory_path(code) / "seqmill-XXXXXX").string();
  if (code || !::mkdtemp(path_.data())) fail_errno("cannot make a temporary directory " + path_);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace seqmill::io
