#include "base/child_process.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::test;

using Lines = std::vector<std::string>;

TEST_CASE("a program answers line by line, and stays up", "[child]") {
  ChildProcess program("while read -r x; do echo \"got $x\"; done");
  CHECK(program.ask({"a"}) == Lines{"got a"});
  CHECK(program.ask({"b c", "", "d"}) == Lines{"got b c", "got ", "got d"});
  CHECK(program.ask({}).empty());
}

TEST_CASE("neither side waits for the other when much is said", "[child]") {
  ChildProcess program("cat");
  Lines lines;
  for (int i = 0; i < 3000; ++i) lines.push_back(std::string(1000, static_cast<char>('a' + i % 26)));
  CHECK(program.ask(lines) == lines);
  // One that answers when it has read all of it.
  ChildProcess late("n=0; while read -r x; do n=$((n + 1)); if [ $n = 3000 ]; then while [ $n -gt 0 ]; do echo $n; n=$((n - 1)); done; fi; done");
  const Lines answers = late.ask(lines);
  CHECK((answers.size() == 3000 && answers.front() == "3000" && answers.back() == "1"));
}

TEST_CASE("a program that ends is an error that names it and says how", "[child]") {
  const auto failure = [](const std::string& command, const Lines& lines) { return failure_of([&] { ChildProcess(command).ask(lines); }); };
  CHECK(failure("read -r x; echo one; exit 3", {"a", "b"}).says("'read -r x; echo one; exit 3' ended with exit code 3 after 1 of 2 answers"));
  CHECK(failure("kill -9 $$", {"a"}).says("was killed by signal 9 after 0 of 1 answers"));
  CHECK(failure("no-such-program-here 2> /dev/null", {"a"}).says("exit code 127"));
  CHECK(failure("printf 'one\\ntwo\\n'; cat > /dev/null", {"a"}).says("more than the 1 lines"));
  CHECK(failure("exec 1>&-; sleep 30", {"a"}).says("closed its output"));
  CHECK(failure("read -r x; exit 0", Lines(1, std::string(1 << 20, 'x'))).says("after 0 of 1"));
  // What it answers before it goes counts, although it has not read all.
  CHECK(ChildProcess("echo 1; echo 2; exit 0").ask({std::string(1 << 20, 'x'), "b"}) == Lines{"1", "2"});
}

TEST_CASE("what a program says unasked is an error, when it is seen", "[child]") {
  const TempDir dir;
  ChildProcess program("read -r x; echo one; echo two; echo > " + dir.path() + "/said; cat");
  const auto ask = [&] { program.ask({"a"}); };
  try {
    ask();
  } catch (const Error&) {
    return;  // both came at once
  }
  for (int i = 0; i < 500 && !std::filesystem::exists(dir.path() + "/said"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(failure_of(ask).says("said something before it was asked"));
}

TEST_CASE("a program that does not heed the end of its input is stopped", "[child]") {
  { ChildProcess sleeps("exec sleep 1000"); }
  { ChildProcess deaf("trap '' TERM; while :; do sleep 0.05; done"); }
  SUCCEED();
}

TEST_CASE("broken pipes end the caller only where they did before", "[child]") {
  CHECK(std::signal(SIGPIPE, SIG_DFL) == SIG_DFL);
  CHECK(failure_of([] { ChildProcess("exec 0<&-; sleep 0.3; exit 5").ask(Lines(1, std::string(1 << 20, 'x'))); }).says("exit code 5"));
}
