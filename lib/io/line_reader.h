#pragma once
// Reading text line by line from a file, a .gz file (recognised by its first bytes, not its name) or "-" (standard input).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace seqmill::io {

/// A stream of bytes, decompressed when it is gzip.
class ByteReader {
 public:
  explicit ByteReader(const std::string& path);
  ~ByteReader();
  ByteReader(ByteReader&&) noexcept;
  ByteReader& operator=(ByteReader&&) noexcept;
  /// Up to `size` bytes; 0 at the end. Blocks only until something is there. Read errors, a truncated or damaged .gz throw Error.
  size_t read(char* buffer, size_t size);
  /// False when a read would have to wait for more input.
  bool ready() const;
  /// Waits until `ready`, a signal, or so many milliseconds are over.
  void wait(int milliseconds) const;
  const std::string& name() const;  ///< the path, or "standard input"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct LineLimits {
  int64_t max_bytes = 1 << 18;    ///< a longer line is an error: it is nearly always a file with the wrong line ends
  /// A CR before the line end (a file from Windows) is an error unless this is set; then it is dropped with the LF.
  bool allow_carriage_return = false;
};

class LineReader {
 public:
  /// Throws Error when the file cannot be opened, or is a directory.
  explicit LineReader(const std::string& path, LineLimits limits = {});
  ~LineReader();
  LineReader(LineReader&&) noexcept;
  LineReader& operator=(LineReader&&) noexcept;

  /// The next line without its LF; false at the end. A last line without LF counts; an empty file has no lines. Throws Error
  /// "<file>:<line>: ..." for invalid UTF-8, NUL bytes, a byte order mark, CR line ends and over-long lines.
  bool next(std::string& line);
  int64_t line_number() const;  ///< of the line last returned, from 1
  bool had_line_feed() const;   ///< whether the line last returned ended in one: the last of a file need not
  const std::string& name() const;
  /// True when `next` would have to wait for more input: the moment to answer what has been read (streaming filters).
  bool would_block() const;
  /// Waits for more input, for so many milliseconds at most.
  void wait(int milliseconds) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All lines of a file.
std::vector<std::string> read_lines(const std::string& path, LineLimits limits = {});

/// The whole of a small file as it is (not decompressed). Throws Error past `max_bytes`.
std::string read_file(const std::string& path, int64_t max_bytes = int64_t{1} << 30);

}  // namespace seqmill::io
