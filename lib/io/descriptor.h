#pragma once
// Checked system calls on file descriptors, shared by the sources of this layer.

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>

namespace seqmill::io {

/// A file descriptor that is closed at the end of its scope.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;

  int get() const { return number_; }
  bool is_open() const { return number_ >= 0; }
  /// Gives the number away without closing it.
  int release() { return std::exchange(number_, -1); }
  void reset();

 private:
  int number_ = -1;
};

/// Opens an existing file for reading. Throws Error when it cannot be opened or is a directory.
Descriptor open_for_reading(const std::string& path);
/// At most `size` bytes, 0 at the end; interrupted and not-ready calls are repeated. `name` opens the message of
/// an Error.
size_t read_some(int descriptor, char* buffer, size_t size, const std::string& name);
/// All of `bytes`, or an Error "cannot write <name>: <reason>".
void write_all(int descriptor, std::string_view bytes, const std::string& name);
/// fsync; a kind of file that cannot be synced (a pipe, a device) is no error.
void sync(int descriptor, const std::string& name);
/// close with its result checked: some file systems report a full disk only here.
void close_checked(Descriptor& descriptor, const std::string& name);

}  // namespace seqmill::io
