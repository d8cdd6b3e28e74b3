#include "io/output.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdio>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::io;
using namespace seqmill::test;

namespace {

// Standard output replaced for a scope.
class Redirected {
 public:
  explicit Redirected(int to) : saved_(::dup(STDOUT_FILENO)) {
    std::fflush(stdout);
    ::dup2(to, STDOUT_FILENO);
  }
  ~Redirected() {
    ::dup2(saved_, STDOUT_FILENO);
    ::close(saved_);
  }

 private:
  int saved_;
};

}  // namespace

TEST_CASE("a file appears under its name only when it is closed") {
  TempDir dir;
  const std::string path = put(dir / "out", "old");
  {
    Output output(path);
    output.write("new ");
    output.flush();
    CHECK(get(path) == "old");
    CHECK(dir.names().size() == 2);
    output.write("text");
    output.close();
  }
  CHECK(get(path) == "new text");
  CHECK(dir.names() == std::vector<std::string>{"out"});
}

TEST_CASE("an output that is not closed leaves the older file and no rubbish") {
  TempDir dir;
  const std::string path = put(dir / "out", "old");
  { Output(path).write("half"); }
  CHECK(get(path) == "old");
  CHECK(dir.names() == std::vector<std::string>{"out"});
}

TEST_CASE("large outputs arrive whole") {
  TempDir dir;
  std::string expected;
  Output output(dir / "big");
  for (int i = 0; i < 40000; ++i) {
    const std::string line = fmt::format("line {}\n", i);
    expected += line;
    output.write(line);
  }
  output.close();
  CHECK(get(dir / "big") == expected);
}

TEST_CASE("a replaced file keeps its mode, and a symbolic link stays one") {
  TempDir dir;
  const std::string path = put(dir / "real", "old");
  ::chmod(path.c_str(), 0600);
  REQUIRE(::symlink("real", (dir / "link").c_str()) == 0);
  write_file(dir / "link", "new");
  CHECK(std::filesystem::is_symlink(dir / "link"));
  CHECK(get(path) == "new");
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("two outputs of one name do not disturb each other") {
  TempDir dir;
  Output first(dir / "out"), second(dir / "out");
  first.write("first");
  second.write("second");
  second.close();
  first.close();
  CHECK(get(dir / "out") == "first");
  CHECK(dir.names() == std::vector<std::string>{"out"});
}

TEST_CASE("names that cannot be written are errors that name them") {
  TempDir dir;
  put(dir / "file", "x");
  CHECK(failure_of([&] { Output(dir.path()); }).says("it is a directory"));
  CHECK(failure_of([&] { Output(dir / "no/such/out"); }).says("No such file or directory"));
  CHECK(failure_of([&] { Output(dir / "file/out"); }).says("Not a directory"));
  CHECK(failure_of([&] { Output(dir / "new/"); }).exit_code == kExitFailure);
  CHECK(failure_of([&] { Output(""); }).exit_code == kExitFailure);
  CHECK(failure_of([&] { Output(dir / "file/out"); }).says(dir / "file/out"));
}

TEST_CASE("a full disk is an error at write, flush or close") {
  CHECK(failure_of([] { write_file("/dev/full", "x"); }).says("cannot write /dev/full: No space left on device"));
  CHECK(failure_of([] { append_file("/dev/full", "x"); }).says("No space left on device"));
  Output output("/dev/full");
  output.write("x");
  CHECK(failure_of([&] { output.flush(); }).exit_code == kExitFailure);
  CHECK(failure_of([&] { output.write(std::string(1 << 20, 'x')); }).exit_code == kExitFailure);
}

TEST_CASE("a file that cannot grow leaves the older one intact") {
  TempDir dir;
  const std::string path = put(dir / "out", "old");
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Failure failure = failure_of([&] { write_file(path, std::string(5000, 'x')); });
    return failure.says("File too large") && failure.says(path) ? 0 : 1;
  });
  CHECK(status == 0);
  CHECK(get(path) == "old");
  CHECK(dir.names() == std::vector<std::string>{"out"});
}

TEST_CASE("standard output is written and checked") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  {
    Redirected redirected(ends[1]);
    Output output("-");
    output.write("one\n");
    output.flush();
    output.write("two\n");
    output.close();
  }
  {
    Redirected redirected(ends[1]);
    write_file("/dev/stdout", "three\n");
  }
  ::close(ends[1]);
  char text[64] = {};
  size_t size = 0;
  for (ssize_t count; (count = ::read(ends[0], text + size, sizeof text - size)) > 0;)
    size += static_cast<size_t>(count);
  ::close(ends[0]);
  CHECK(std::string(text, size) == "one\ntwo\nthree\n");

  const int full = ::open("/dev/full", O_WRONLY);
  Failure failure;
  {
    Redirected redirected(full);
    failure = failure_of([] { write_file("-", "x"); });
  }
  ::close(full);
  CHECK(failure.says("cannot write standard output: No space left on device"));
}

TEST_CASE("/dev/stdout goes on where a redirected file stands") {
  TempDir dir;
  const std::string path = put(dir / "log", "before\n");
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND);
  {
    Redirected redirected(file);
    write_file("/dev/stdout", "after\n");
  }
  ::close(file);
  CHECK(get(path) == "before\nafter\n");
}

TEST_CASE("a reader that went away ends the process quietly") {
  const int status = in_child([] {
    std::signal(SIGPIPE, SIG_DFL);
    int ends[2];
    if (::pipe(ends) != 0) return 1;
    ::close(ends[0]);
    ::dup2(ends[1], STDOUT_FILENO);
    write_file("-", "x");
    return 2;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGPIPE);
}

TEST_CASE("an output is closed once") {
  TempDir dir;
  Output output(dir / "out");
  output.close();
  CHECK(failure_of([&] { output.close(); }).says("closed already"));
}

TEST_CASE("appending creates and extends") {
  TempDir dir;
  append_file(dir / "log", "a");
  append_file(dir / "log", "b");
  CHECK(get(dir / "log") == "ab");
  CHECK(failure_of([&] { append_file(dir / "no/log", "a"); }).says("No such file or directory"));
}

TEST_CASE("a file that grows is cut, written at once, and held by one process") {
  TempDir dir;
  const std::string path = put(dir / "grows", "whole\ntorn");
  {
    AppendedFile file(path);
    CHECK(failure_of([&] { AppendedFile second(path); }).says("another process"));
    CHECK(failure_of([&] { file.cut(100); }).says("it has 10 bytes"));
    file.cut(6);
    file.write("more\n");
    CHECK(get(path) == "whole\nmore\n");
    file.close();
  }
  AppendedFile again(path);
  again.write("x");
  CHECK(get(path) == "whole\nmore\nx");
  CHECK(failure_of([&] { AppendedFile none(dir / "no/file"); }).says("No such file or directory"));
  CHECK(failure_of([] { AppendedFile device("/dev/null"); }).says("no regular file"));
}
