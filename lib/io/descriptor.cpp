#include "io/descriptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace seqmill::io {
namespace {

// A terminal or pipe shared with another program may have been made non-blocking by it: wait as if it were not.
bool wait_and_retry(int descriptor, short events) {
  if (errno == EINTR) return true;
  if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
  pollfd wanted{descriptor, events, 0};
  ::poll(&wanted, 1, -1);
  return true;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    number_ = other.release();
  }
  return *this;
}

void Descriptor::reset() {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

Descriptor open_for_reading(const std::string& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor.is_open()) fail_errno("cannot open " + path);
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) fail_errno("cannot open " + path);
  if (S_ISDIR(status.st_mode)) fail("cannot read {}: it is a directory, expected a file", path);
  return descriptor;
}

size_t read_some(int descriptor, char* buffer, size_t size, const std::string& name) {
  for (;;) {
    const ssize_t count = ::read(descriptor, buffer, size);
    if (count >= 0) return static_cast<size_t>(count);
    if (!wait_and_retry(descriptor, POLLIN)) fail_errno("cannot read " + name);
  }
}

void write_all(int descriptor, std::string_view bytes, const std::string& name) {
  constexpr size_t kLargestWrite = size_t{1} << 30;  // the kernel takes less than 2 GiB at once
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), std::min(bytes.size(), kLargestWrite));
    if (count < 0) {
      if (!wait_and_retry(descriptor, POLLOUT)) fail_errno("cannot write " + name);
      continue;
    }
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void sync(int descriptor, const std::string& name) {
  while (::fsync(descriptor) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL || errno == ENOTSUP || errno == EROFS) return;
    fail_errno("cannot write " + name);
  }
}

void close_checked(Descriptor& descriptor, const std::string& name) {
  // Not repeated after EINTR: on Linux the descriptor is gone then, and its number may belong to another thread.
  if (::close(descriptor.release()) != 0 && errno != EINTR) fail_errno("cannot write " + name);
}

}  // namespace seqmill::io
