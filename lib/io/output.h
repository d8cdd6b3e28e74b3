#pragma once
// Writing without losing anything: every open, write, flush and close is checked, and a file appears under its name only when
// it is complete.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace seqmill::io {

/// A checked stream. "-" is standard output; a path is written as a temporary file beside it and renamed by `close`.
class Output {
 public:
  explicit Output(const std::string& path);
  /// Without `close` (an exception is under way) the temporary file is removed and an older file of that name stays.
  ~Output();
  Output(Output&&) noexcept;
  Output& operator=(Output&&) noexcept;

  void write(std::string_view bytes);
  /// Hands everything written so far to the kernel. Throws Error with the reason ("No space left on device").
  void flush();
  /// Flush, fsync (files), rename. Must be called; may be called once.
  void close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A file that grows: what is written is in the kernel's hands at once, so that a process that is killed loses nothing of it.
class AppendedFile {
 public:
  /// Opens or makes it. Throws Error when another process has it open so.
  explicit AppendedFile(const std::string& path);
  ~AppendedFile();
  AppendedFile(const AppendedFile&) = delete;
  AppendedFile& operator=(const AppendedFile&) = delete;

  /// Keeps its first bytes only. Throws Error when it has fewer.
  void cut(int64_t bytes);
  void write(std::string_view bytes);
  /// fsync. Must be called; may be called once.
  void close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes `bytes` under a temporary name, fsyncs, renames to `path`.
void write_file(const std::string& path, std::string_view bytes);

/// Appends bytes to a file, creating it; checked.
void append_file(const std::string& path, std::string_view bytes);

/// Makes renames in this directory durable.
void sync_directory(const std::string& path);

}  // namespace seqmill::io
