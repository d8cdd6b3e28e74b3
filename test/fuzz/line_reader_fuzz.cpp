#include <algorithm>

#include "base/strings.h"
#include "fuzz/fuzz.h"
#include "io/line_reader.h"
#include "support/gzip.h"

using namespace seqmill;

namespace {

struct Result {
  std::vector<std::string> lines;
  std::string error;
};

Result read(const std::string& bytes, bool poll, io::LineLimits limits) {
  const fuzz::MemoryFile file(bytes);
  Result result;
  fuzz::expect_only_errors([&] {
    try {
      io::LineReader reader(file.path(), limits);
      for (std::string line; (poll && reader.would_block()) || reader.next(line);) {
        fuzz::require(line.find('\n') == std::string::npos && line.find('\0') == std::string::npos,
                      "a line is one line of text");
        fuzz::require(find_invalid_utf8(line) == std::string::npos, "a line is UTF-8");
        fuzz::require(static_cast<int64_t>(line.size()) <= limits.max_bytes, "a line keeps to the limit");
        result.lines.push_back(line);
        fuzz::require(reader.line_number() == static_cast<int64_t>(result.lines.size()), "lines are counted");
      }
    } catch (const Error& error) {
      const std::string message = error.what();
      fuzz::require(starts_with(message, file.path()), "an error names the file");
      result.error = message.substr(file.path().size());
      throw;
    }
  });
  return result;
}

}  // namespace

// The first byte chooses: 0 raw bytes, 1 the bytes after a gzip header, else text that must read alike plain,
// polled and packed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(fuzz::view(data + 1, size - 1));
  io::LineLimits limits;
  limits.max_bytes = 300;
  limits.allow_carriage_return = data[0] & 0x80;
  const int mode = data[0] & 0x7F;
  if (mode == 0) {
    read(bytes, false, limits);
  } else if (mode == 1) {
    read(std::string("\x1F\x8B\x08\0\0\0\0\0\0\x03", 10) + bytes, false, limits);
  } else if (!starts_with(bytes, "\x1F\x8B")) {
    const Result plain = read(bytes, false, limits), polled = read(bytes, true, limits);
    const size_t cut = static_cast<size_t>(mode) % (bytes.size() + 1);
    const Result packed = read(test::gzip(bytes.substr(0, cut)) + test::gzip(bytes.substr(cut)), true, limits);
    fuzz::require(plain.lines == polled.lines && plain.error == polled.error, "polling changes nothing");
    fuzz::require(plain.lines == packed.lines && plain.error == packed.error, "packing changes nothing");
  }
  return 0;
}
