#include "io/line_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "support/files.h"
#include "support/gzip.h"

using namespace seqmill;
using namespace seqmill::io;
using namespace seqmill::test;

namespace {

using Lines = std::vector<std::string>;

Lines lines_of(const std::string& bytes, LineLimits limits = {}) {
  TempDir dir;
  return read_lines(put(dir / "text", bytes), limits);
}

Failure failure_with(const std::string& bytes, LineLimits limits = {}) {
  return failure_of([&] { lines_of(bytes, limits); });
}

}  // namespace

TEST_CASE("lines end at LF, and the last one may do without") {
  CHECK(lines_of("").empty());
  CHECK(lines_of("\n") == Lines{""});
  CHECK(lines_of("a\nb\n") == Lines{"a", "b"});
  CHECK(lines_of("a\n\nb") == Lines{"a", "", "b"});
  CHECK(lines_of("ä\xE2\x80\xA8ö\tü\n") == Lines{"ä\xE2\x80\xA8ö\tü"});
  CHECK(lines_of("\x1F") == Lines{"\x1F"});
}

TEST_CASE("lines are counted from 1") {
  TempDir dir;
  LineReader reader(put(dir / "text", "a\nb\n"));
  CHECK(reader.line_number() == 0);
  std::string line;
  CHECK((reader.next(line) && reader.line_number() == 1));
  CHECK((reader.next(line) && reader.line_number() == 2));
  CHECK_FALSE(reader.next(line));
  CHECK_FALSE(reader.next(line));
  CHECK(reader.line_number() == 2);
  CHECK(reader.name() == dir / "text");
}

TEST_CASE("lines longer than the blocks of reading") {
  Lines expected;
  std::string bytes;
  for (int i = 0; i < 50; ++i) {
    expected.push_back(std::string(static_cast<size_t>(i) * 5000, static_cast<char>('a' + i % 26)));
    bytes += expected.back() + "\n";
  }
  CHECK(lines_of(bytes) == expected);
  CHECK(lines_of(gzip(bytes)) == expected);
}

TEST_CASE("text that is not UTF-8 is an error with line and byte") {
  const Failure latin = failure_with("gut\nsch\xF6n\n");
  CHECK(latin.exit_code == kExitFailure);
  CHECK(latin.says("text:2: byte 4 of the line (0xF6) is not valid UTF-8"));
  CHECK(latin.says("iconv"));
  CHECK(failure_with("\xC0\x80\n").says(":1: byte 1"));      // overlong
  CHECK(failure_with("\xED\xA0\x80\n").says(":1: byte 1"));  // surrogate
  CHECK(failure_with("a\xE2\x82").says(":1: byte 2"));       // cut off
}

TEST_CASE("NUL bytes are an error") {
  const Failure failure = failure_with(std::string("a\nb\0c\n", 6));
  CHECK(failure.says("text:2: byte 2 of the line is NUL"));
  CHECK(failure_with(std::string("\xFF\xFE"
                                 "a\0\n\0",
                                 6))
            .says("UTF-16"));
}

TEST_CASE("CR line ends are an error unless they are allowed") {
  const Failure failure = failure_with("a\nb\r\n");
  CHECK(failure.says("text:2: the line ends in a carriage return"));
  CHECK(failure.says("sed 's/\\r$//'"));
  CHECK(failure_with("a\r").says("text:1:"));
  LineLimits limits;
  limits.allow_carriage_return = true;
  CHECK(lines_of("a\r\nb\r\n", limits) == Lines{"a", "b"});
}

TEST_CASE("an over-long line is an error with both sizes") {
  const Failure failure = failure_with("short\n" + std::string(1 << 20, 'x') + "\nshort\n");
  CHECK(failure.says("text:2: the line has 1048576 bytes, at most 262144 are accepted"));
  LineLimits limits;
  limits.max_bytes = 4;
  CHECK(lines_of("1234\n1234", limits) == Lines{"1234", "1234"});
  CHECK(failure_with("12345\n", limits).says("the line has 5 bytes, at most 4 are accepted"));
  CHECK(failure_with("12345", limits).says("the line has 5 bytes"));
  CHECK(failure_with(std::string(200000, 'x'), limits).says("the line has 200000 bytes"));
  limits.allow_carriage_return = true;
  CHECK(lines_of("1234\r\n", limits) == Lines{"1234"});
}

TEST_CASE("an endless line does not fill the memory") {
  CHECK(failure_of([] { read_lines("/dev/zero"); }).says("/dev/zero:1: the line has more than"));
}

TEST_CASE("files that cannot be read are errors that name them") {
  TempDir dir;
  CHECK(failure_of([&] { LineReader(dir / "none"); }).says("No such file or directory"));
  CHECK(failure_of([&] { LineReader(dir / "none"); }).says(dir / "none"));
  CHECK(failure_of([&] { LineReader(dir.path()); }).says("it is a directory"));
}

TEST_CASE("gzip is recognised by its content and read through all its members") {
  CHECK(lines_of(gzip("a\nb\n")) == Lines{"a", "b"});
  CHECK(lines_of(gzip("")).empty());
  CHECK(lines_of(gzip("a\nb") + gzip("c\n") + gzip("") + gzip("d\n")) == Lines{"a", "bc", "d"});
}

TEST_CASE("a truncated gzip file is an error wherever it is cut") {
  std::string text;
  for (int i = 0; i < 200; ++i) text += fmt::format("line {}\n", i * i);
  const std::string whole = gzip(text);
  for (size_t size = 2; size < whole.size(); ++size) {
    const Failure failure = failure_with(whole.substr(0, size));
    if (!failure.says("text: byte ") || !failure.says("truncated")) FAIL(size << ": " << failure.message);
  }
  TempDir dir;
  CHECK(failure_of([&] { read_lines(put(dir / "empty.gz", "")); }).says("truncated"));
  CHECK(failure_of([&] { read_lines(put(dir / "one.gz", "\x1F")); }).says("truncated"));
  const std::string second = gzip("b\n");
  CHECK(failure_with(gzip("a\n") + second.substr(0, second.size() - 3)).says("truncated"));
}

TEST_CASE("damaged gzip data and trailing bytes are errors") {
  std::string bytes = gzip(std::string(3000, 'a') + "\n");
  CHECK(failure_with(bytes + "x").says("after the end of the gzip data"));
  CHECK(failure_with(bytes + std::string(512, '\0')).says("after the end of the gzip data"));
  bytes[bytes.size() - 6] = static_cast<char>(bytes[bytes.size() - 6] ^ 1);  // of the checksum
  CHECK(failure_with(bytes).says("damaged gzip data (incorrect data check)"));
  bytes = gzip("abc\n");
  bytes[10] = '\xFF';
  CHECK(failure_with(bytes).says("damaged gzip data"));
}

TEST_CASE("would_block tells whether a line has to be waited for") {
  TempDir dir;
  const std::string path = dir / "pipe";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const int keep = ::open(path.c_str(), O_RDWR);  // so that neither side waits for the other to open
  const auto send = [&](const std::string& bytes) { return ::write(keep, bytes.data(), bytes.size()) > 0; };
  LineReader reader(path);
  std::string line;
  CHECK(reader.would_block());
  REQUIRE(send("one\ntwo\nth"));
  CHECK_FALSE(reader.would_block());
  CHECK((reader.next(line) && line == "one"));
  CHECK_FALSE(reader.would_block());
  CHECK((reader.next(line) && line == "two"));
  CHECK(reader.would_block());  // half a line is none
  REQUIRE(send("ree\n"));
  CHECK_FALSE(reader.would_block());
  CHECK((reader.next(line) && line == "three"));
  CHECK(reader.would_block());
  ::close(keep);
  CHECK_FALSE(reader.would_block());  // the end needs no waiting
  CHECK_FALSE(reader.next(line));
}

TEST_CASE("standard input has a name of its own") { CHECK(LineReader("-").name() == "standard input"); }

TEST_CASE("bytes are read as they are or unpacked") {
  TempDir dir;
  ByteReader reader(put(dir / "x", gzip(std::string("\0\xFF\r\n", 4))));
  char buffer[16];
  CHECK(reader.read(buffer, 0) == 0);
  CHECK(reader.read(buffer, 3) == 3);
  CHECK(reader.ready());
  CHECK(reader.read(buffer + 3, 13) == 1);
  CHECK(std::string(buffer, 4) == std::string("\0\xFF\r\n", 4));
  CHECK(reader.read(buffer, 16) == 0);
  CHECK(reader.read(buffer, 16) == 0);
}

TEST_CASE("a whole file is read as it is, up to a limit") {
  TempDir dir;
  const std::string bytes = gzip("x");
  CHECK(read_file(put(dir / "x", bytes)) == bytes);
  CHECK(read_file(dir / "x", static_cast<int64_t>(bytes.size())) == bytes);
  CHECK(failure_of([&] { read_file(dir / "x", 5); }).says("has more than 5 bytes"));
  CHECK(failure_of([&] { read_file(dir / "none"); }).says("No such file"));
  CHECK(failure_of([&] { read_file(dir.path()); }).says("it is a directory"));
}
