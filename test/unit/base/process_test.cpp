#include <catch2/catch.hpp>
#include <atomic>
#include <csignal>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/threads.h"
#include "base/version.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::test;

TEST_CASE("errors carry their exit code, and errno its reason") {
  CHECK(failure_of([] { fail("x {}", 1); }).exit_code == 1);
  CHECK(failure_of([] { fail("x {}", 1); }).message == "x 1");
  CHECK(failure_of([] { fail_usage("y"); }).exit_code == 2);
  errno = ENOENT;
  CHECK(failure_of([] { fail_errno("cannot open z"); }).message == "cannot open z: No such file or directory");
}

TEST_CASE("parallel_for covers each index once") {
  for (const int threads : {1, 2, 3}) {
    set_threads(threads);
    CHECK(seqmill::threads() == threads);
    for (const int64_t count : {0, 1, 7, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      parallel_for(count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& times) { return times == 1; }));
    }
  }
  set_threads(0);
  CHECK(seqmill::threads() == available_threads());
  CHECK(available_threads() >= 1);
}

TEST_CASE("parallel_for makes no parts below the grain, and nests") {
  set_threads(4);
  std::atomic<int> parts{0};
  parallel_for(10, 100, [&](int64_t, int64_t) { ++parts; });
  CHECK(parts == 1);
  std::atomic<int64_t> sum{0};
  parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    parallel_for(end - begin, 1, [&](int64_t from, int64_t to) { sum += to - from; });
  });
  CHECK(sum == 8);
  set_threads(0);
}

TEST_CASE("an exception in a parallel part comes out") {
  set_threads(2);
  CHECK(failure_of([] {
          parallel_for(2, 1, [](int64_t begin, int64_t) {
            if (begin == 1) fail("in part two");
          });
        }).message == "in part two");
  set_threads(0);
}

TEST_CASE("the log keeps a copy with level and time") {
  TempDir dir;
  log::Level level;
  CHECK(log::parse_level("warning", level));
  CHECK(level == log::Level::kWarning);
  CHECK_FALSE(log::parse_level("loud", level));
  const int status = in_child([&] {
    ::close(STDERR_FILENO);
    log::open_copy(dir / "log");
    log::set_level(log::Level::kInfo);
    log::info("one {}", 1);
    log::debug("hidden");
    log::warn("two");
    log::error("three");
    log::open_copy("");
    log::info("after");
    return 0;
  });
  CHECK(status == 0);
  const std::string text = get(dir / "log");
  CHECK(text.find("] one 1\n[") != std::string::npos);
  CHECK(text.find("] warning: two\n[") != std::string::npos);
  CHECK(text.find("] error: three\n") != std::string::npos);
  CHECK(text.find("hidden") == std::string::npos);
  CHECK(text.find("after") == std::string::npos);
  CHECK(failure_of([&] { log::open_copy(dir / "no/log"); }).says("cannot open the log"));
}

TEST_CASE("the first stop signal is remembered, the second of its kind kills") {
  CHECK(in_child([] {
          catch_stop_signals();
          if (stop_signal() != 0) return 1;
          std::raise(SIGUSR1);
          return stop_signal() == SIGUSR1 ? 0 : 2;
        }) == 0);
  const int status = in_child([] {
    catch_stop_signals();
    std::raise(SIGTERM);
    std::raise(SIGTERM);
    return 0;
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
}

TEST_CASE("the version has three parts and its lines can be added to") {
  const std::string text = version();
  CHECK(std::count(text.begin(), text.end(), '.') == 2);
  const size_t before = version_lines().size();
  add_version_line("library", "1.0");
  CHECK(version_lines().size() == before + 1);
  CHECK(version_lines().back().first == "library");
}
