#include "io/output.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/strings.h"
#include "io/descriptor.h"

namespace seqmill::io {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 16;

// The descriptor that names such as /dev/stdout stand for, or -1. Opening these names again would start a
// redirected file over from its first byte; a duplicate goes on where the shell left it.
int inherited_descriptor(const std::string& path) {
  if (path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (const char* prefix : {"/dev/fd/", "/proc/self/fd/"}) {
    int64_t number = -1;
    if (starts_with(path, prefix) &&
        parse_int(std::string_view(path).substr(std::string_view(prefix).size()), number) && number >= 0 &&
        number < (1 << 20)) {
      return static_cast<int>(number);
    }
  }
  return -1;
}

// Where a rename has to end up: a symbolic link stays, the file it points to is replaced.
std::string resolve_links(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_symlink(path, ignored)) return path;
  const std::filesystem::path real = std::filesystem::weakly_canonical(path, ignored);
  return ignored ? path : real.string();
}

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string temporary_name(const std::string& path) {
  static std::atomic<int> counter{0};
  constexpr size_t kLongestName = 200;  // leaves room for our suffix below NAME_MAX
  const std::filesystem::path target(path);
  return (target.parent_path() /
          fmt::format(".{}.tmp-{}-{}", target.filename().string().substr(0, kLongestName), ::getpid(), counter++))
      .string();
}

}  // namespace

struct Output::State {
  std::string name;    // for messages
  std::string target;  // the file a temporary one is renamed to; empty when written directly
  std::string temporary;
  Descriptor descriptor;
  std::string buffer;

  explicit State(const std::string& path) : name(path == "-" ? "standard output" : path) {
    const int inherited = path == "-" ? STDOUT_FILENO : inherited_descriptor(path);
    if (inherited >= 0) {
      descriptor = Descriptor(::fcntl(inherited, F_DUPFD_CLOEXEC, 0));
      if (!descriptor.is_open()) fail_errno("cannot write " + name);
      return;
    }
    struct stat status {};
    const bool exists = ::stat(path.c_str(), &status) == 0;
    if (path.empty()) fail("cannot write a file without a name");
    if (exists && S_ISDIR(status.st_mode)) fail("cannot write {}: it is a directory, expected a file name", path);
    if (exists && !S_ISREG(status.st_mode)) {
      descriptor = Descriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
      if (!descriptor.is_open()) fail_errno("cannot write " + name);
      return;
    }
    open_temporary(path, exists, status.st_mode);
  }

  void open_temporary(const std::string& path, bool exists, mode_t mode) {
    if (ends_with(path, "/")) fail("cannot write {}: it ends in '/', expected a file name", path);
    target = resolve_links(path);
    if (exists && ::access(target.c_str(), W_OK) != 0) fail_errno("cannot write " + name);
    do {
      temporary = temporary_name(target);
      descriptor = Descriptor(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    } while (!descriptor.is_open() && errno == EEXIST);
    if (!descriptor.is_open()) {
      temporary.clear();
      fail_errno("cannot write " + name);
    }
    if (exists) (void)::fchmod(descriptor.get(), mode & 07777);
  }

  ~State() {
    if (!temporary.empty()) ::unlink(temporary.c_str());
  }

  void flush() {
    // Emptied first: after a failed write the destructor and a second flush must not try it again.
    const std::string bytes = std::exchange(buffer, {});
    write_all(descriptor.get(), bytes, name);
  }
};

Output::Output(const std::string& path) : state_(std::make_unique<State>(path)) {}
Output::~Output() = default;
Output::Output(Output&&) noexcept = default;
Output& Output::operator=(Output&&) noexcept = default;

void Output::write(std::string_view bytes) {
  state_->buffer.append(bytes);
  if (state_->buffer.size() >= kBufferBytes) state_->flush();
}

void Output::flush() { state_->flush(); }

void Output::close() {
  State& state = *state_;
  if (!state.descriptor.is_open()) fail("{} is closed already", state.name);
  state.flush();
  if (!state.target.empty()) sync(state.descriptor.get(), state.name);
  close_checked(state.descriptor, state.name);
  if (state.target.empty()) return;
  if (std::rename(state.temporary.c_str(), state.target.c_str()) != 0) fail_errno("cannot write " + state.name);
  state.temporary.clear();
  sync_directory(parent_of(state.target));
}

struct AppendedFile::State {
  std::string name;
  Descriptor descriptor;
};

AppendedFile::AppendedFile(const std::string& path) : state_(std::make_unique<State>()) {
  state_->name = path;
  Descriptor& descriptor = state_->descriptor;
  descriptor = Descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!descriptor.is_open()) fail_errno("cannot write " + path);
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) fail_errno("cannot write " + path);
  if (!S_ISREG(status.st_mode)) fail("cannot append to {}: it is no regular file", path);
  if (::flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) fail("cannot append to {}: another process does", path);
    fail_errno("cannot lock " + path);
  }
}

AppendedFile::~AppendedFile() = default;

void AppendedFile::cut(int64_t bytes) {
  struct stat status {};
  if (::fstat(state_->descriptor.get(), &status) != 0) fail_errno("cannot write " + state_->name);
  if (status.st_size < bytes) fail("cannot append to {}: it has {} bytes, expected at least {}", state_->name, status.st_size, bytes);
  if (status.st_size > bytes && ::ftruncate(state_->descriptor.get(), bytes) != 0) fail_errno("cannot shorten " + state_->name);
}

void AppendedFile::write(std::string_view bytes) { write_all(state_->descriptor.get(), bytes, state_->name); }

void AppendedFile::close() {
  sync(state_->descriptor.get(), state_->name);
  close_checked(state_->descriptor, state_->name);
}

void write_file(const std::string& path, std::string_view bytes) {
  Output output(path);
  output.write(bytes);
  output.close();
}

void append_file(const std::string& path, std::string_view bytes) {
  Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!descriptor.is_open()) fail_errno("cannot write " + path);
  write_all(descriptor.get(), bytes, path);
  close_checked(descriptor, path);
}

void sync_directory(const std::string& path) {
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A directory that may be written but not listed cannot be synced; its files are still there.
  if (!descriptor.is_open()) {
    if (errno == EACCES) return;
    fail_errno("cannot open the directory " + path);
  }
  sync(descriptor.get(), path);
}

}  // namespace seqmill::io
