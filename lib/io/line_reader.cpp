#include "io/line_reader.h"

#include <poll.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/strings.h"
#include "io/descriptor.h"

namespace seqmill::io {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 16;
constexpr int64_t kCountBytes = int64_t{1}
                                << 28;  // how far the length of an over-long line is followed for the message

bool has_input(int descriptor, int milliseconds = 0) {
  pollfd wanted{descriptor, POLLIN, 0};
  return ::poll(&wanted, 1, milliseconds) != 0;  // an error or hang-up also lets read return at once
}

}  // namespace

struct ByteReader::State {
  std::string name;
  Descriptor opened;  // not for standard input, which is not ours to close
  int descriptor = STDIN_FILENO;
  std::string block;   // bytes from the file
  size_t begin = 0;    // of those not yet used
  int64_t offset = 0;  // in the file, of the end of `block`
  bool ended = false;  // the file has no more bytes
  bool gzip = false;
  bool between_members = false;
  bool output_pending = false;  // zlib filled the caller's buffer and may hold more
  z_stream stream{};

  explicit State(const std::string& path) : name(path == "-" ? "standard input" : path) {
    if (path == "-") return;
    opened = open_for_reading(path);
    descriptor = opened.get();
  }
  ~State() {
    if (gzip) inflateEnd(&stream);
  }

  size_t available() const { return block.size() - begin; }

  // Appends one read to what is left of the block.
  void fill() {
    block.erase(0, begin);
    begin = 0;
    const size_t kept = block.size();
    block.resize(kept + kBlockBytes);
    const size_t count = read_some(descriptor, block.data() + kept, kBlockBytes, name);
    block.resize(kept + count);
    offset += static_cast<int64_t>(count);
    ended = count == 0;
  }

  // A file is gzip when it opens with the two magic bytes. They are awaited only if the first byte is right, so
  // that one byte of plain text from a pipe is not held back.
  void recognise() {
    while (!ended && (available() == 0 || (available() == 1 && block[begin] == '\x1f'))) fill();
    if (available() < 2 && ends_with(name, ".gz")) fail_truncated();
    if (available() < 2 || block[begin] != '\x1f' || block[begin + 1] != '\x8b') return;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) fail("cannot read {}: no memory for decompression", name);
    gzip = true;
  }

  [[noreturn]] void fail_truncated() const {
    fail("{}: byte {}: the gzip data ends too early; the file is truncated, copy or create it again", name,
         offset);
  }

  size_t read_plain(char* buffer, size_t size) {
    if (available() == 0 && !ended) fill();
    const size_t count = std::min(size, available());
    std::memcpy(buffer, block.data() + begin, count);
    begin += count;
    return count;
  }

  int64_t position() const { return offset - static_cast<int64_t>(available()); }

  // What follows a complete member must be another one: anything else would be lost without a word.
  bool next_member() {
    while (!ended && available() < 2) fill();
    if (available() == 0) return false;
    if (available() < 2 || block[begin] != '\x1f' || block[begin + 1] != '\x8b') {
      fail(
          "{}: byte {}: found {} after the end of the gzip data, expected the end of the file; unpack it with "
          "gzip -dc to see "
          "what is there",
          name, position(), ended ? fmt::format("{} more bytes", available()) : "more bytes");
    }
    inflateReset(&stream);
    between_members = false;
    return true;
  }

  size_t read_gzip(char* buffer, size_t size) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = static_cast<uInt>(std::min<size_t>(size, 1 << 30));
    const uInt wanted = stream.avail_out;
    while (stream.avail_out == wanted) {
      if (between_members && !next_member()) return 0;
      if (available() == 0 && !output_pending) {
        if (!ended) fill();
        if (ended) fail_truncated();
      }
      inflate_block();
    }
    output_pending = stream.avail_out == 0 && !between_members;
    return wanted - stream.avail_out;
  }

  void inflate_block() {
    output_pending = false;
    stream.next_in = reinterpret_cast<Bytef*>(block.data() + begin);
    const auto given = static_cast<uInt>(available());
    stream.avail_in = given;
    const int code = inflate(&stream, Z_NO_FLUSH);
    begin += given - stream.avail_in;
    between_members = code == Z_STREAM_END;
    if (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR) return;
    fail("{}: byte {}: damaged gzip data ({}); copy or create the file again", name, position(),
         stream.msg ? stream.msg : "unexpected content");
  }
};

ByteReader::ByteReader(const std::string& path) : state_(std::make_unique<State>(path)) {}
ByteReader::~ByteReader() = default;
ByteReader::ByteReader(ByteReader&&) noexcept = default;
ByteReader& ByteReader::operator=(ByteReader&&) noexcept = default;

size_t ByteReader::read(char* buffer, size_t size) {
  State& state = *state_;
  if (size == 0) return 0;
  if (state.offset == 0 && !state.ended) state.recognise();
  return state.gzip ? state.read_gzip(buffer, size) : state.read_plain(buffer, size);
}

bool ByteReader::ready() const {
  const State& state = *state_;
  return state.available() > 0 || state.output_pending || state.ended || has_input(state.descriptor);
}

void ByteReader::wait(int milliseconds) const {
  if (state_->available() == 0 && !state_->output_pending && !state_->ended) has_input(state_->descriptor, milliseconds);
}

const std::string& ByteReader::name() const { return state_->name; }

struct LineReader::State {
  ByteReader bytes;
  LineLimits limits;
  std::string buffer;
  size_t begin = 0;    // of the next line
  size_t scanned = 0;  // no LF in begin..scanned
  bool ended = false;
  bool line_feed = false;  // at the end of the last line
  int64_t number = 0;

  State(const std::string& path, LineLimits line_limits) : bytes(path), limits(line_limits) {}

  std::string place() const { return fmt::format("{}:{}", bytes.name(), number); }
  size_t pending() const { return buffer.size() - begin; }

  void fill() {
    buffer.erase(0, begin);
    scanned -= begin;
    begin = 0;
    const size_t kept = buffer.size();
    buffer.resize(kept + kBlockBytes);
    const size_t count = bytes.read(buffer.data() + kept, kBlockBytes);
    buffer.resize(kept + count);
    ended = count == 0;
  }

  // The offset of the next LF in the buffer, or npos.
  size_t find_end() {
    const size_t end = buffer.find('\n', scanned);
    scanned = end == std::string::npos ? buffer.size() : end;
    return end;
  }

  bool too_long() const { return static_cast<int64_t>(pending()) > limits.max_bytes + 2; }  // + CR LF

  void check(const std::string& line) const {
    if (const size_t nul = line.find('\0'); nul != std::string::npos) {
      fail(
          "{}: byte {} of the line is NUL, expected text; if the file is UTF-16, convert it with: iconv -f UTF-16 "
          "-t UTF-8",
          place(), nul + 1);
    }
    if (const size_t bad = find_invalid_utf8(line); bad != std::string::npos) {
      fail(
          "{}: byte {} of the line (0x{:02X}) is not valid UTF-8; find the file's encoding and convert it, for "
          "example with: iconv -f "
          "ISO-8859-1 -t UTF-8",
          place(), bad + 1, static_cast<unsigned char>(line[bad]));
    }
  }

  void check_start(const std::string& line) const {
    if (number != 1 || line.compare(0, 3, "\xEF\xBB\xBF") != 0) return;
    fail("{}: the file begins with a byte order mark (BOM), expected plain UTF-8; remove it with: sed '1s/^\\xEF\\xBB\\xBF//'", place());
  }

  void check_end(std::string& line) const {
    if (line.empty() || line.back() != '\r') return;
    if (!limits.allow_carriage_return) {
      fail(
          "{}: the line ends in a carriage return (CR, a file from Windows), expected LF alone; convert it with: "
          "sed 's/\\r$//'",
          place());
    }
    line.pop_back();
  }

  // Follows the line to its end, without keeping it, to say how long it is.
  [[noreturn]] void fail_too_long() {
    auto size = static_cast<int64_t>(pending());
    bool complete = false;
    while (!complete && !ended && size < kCountBytes && bytes.ready()) {
      begin = scanned = buffer.size();
      fill();
      const size_t end = find_end();
      complete = end != std::string::npos || ended;
      size += static_cast<int64_t>(complete && !ended ? end : buffer.size());
    }
    fail_length(size, complete);
  }

  [[noreturn]] void fail_length(int64_t size, bool complete) const {
    fail(
        "{}: the line has {}{} bytes, at most {} are accepted; expected text with one sentence or record a line "
        "and LF line ends",
        place(), complete ? "" : "more than ", size, limits.max_bytes);
  }
};

LineReader::LineReader(const std::string& path, LineLimits limits)
    : state_(std::make_unique<State>(path, limits)) {}
LineReader::~LineReader() = default;
LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;

bool LineReader::next(std::string& line) {
  State& state = *state_;
  size_t end = state.find_end();
  while (end == std::string::npos && !state.ended) {
    if (state.too_long()) {
      ++state.number;
      state.fail_too_long();
    }
    state.fill();
    end = state.find_end();
  }
  if (end == std::string::npos && state.pending() == 0) return false;
  ++state.number;
  state.line_feed = end != std::string::npos;
  const size_t size = end == std::string::npos ? state.pending() : end - state.begin;
  line.assign(state.buffer, state.begin, size);
  state.begin += end == std::string::npos ? size : size + 1;
  state.scanned = state.begin;
  state.check_end(line);
  if (static_cast<int64_t>(line.size()) > state.limits.max_bytes) {
    state.fail_length(static_cast<int64_t>(line.size()), true);
  }
  state.check(line);
  state.check_start(line);
  return true;
}

int64_t LineReader::line_number() const { return state_->number; }
bool LineReader::had_line_feed() const { return state_->line_feed; }
const std::string& LineReader::name() const { return state_->bytes.name(); }

bool LineReader::would_block() const {
  State& state = *state_;
  // Half a line may be there already, so what is ready has to be looked at.
  while (!state.ended && !state.too_long() && state.find_end() == std::string::npos) {
    if (!state.bytes.ready()) return true;
    state.fill();
  }
  return false;
}

void LineReader::wait(int milliseconds) const { state_->bytes.wait(milliseconds); }

std::vector<std::string> read_lines(const std::string& path, LineLimits limits) {
  LineReader reader(path, limits);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  return lines;
}

std::string read_file(const std::string& path, int64_t max_bytes) {
  const Descriptor descriptor = open_for_reading(path);
  std::string text;
  for (;;) {
    const size_t kept = text.size();
    text.resize(kept + kBlockBytes);
    const size_t count = read_some(descriptor.get(), text.data() + kept, kBlockBytes, path);
    text.resize(kept + count);
    if (count == 0) return text;
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      fail("{} has more than {} bytes, expected a smaller file", path, max_bytes);
    }
  }
}

}  // namespace seqmill::io
