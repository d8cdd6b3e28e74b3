#include "base/ahead.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <thread>

#include "base/error.h"
#include "support/files.h"

using namespace seqmill;

TEST_CASE("what was prepared is taken once, and only for its key") {
  Ahead<int, std::string> ahead;
  std::thread::id maker;
  const auto made_now = [] { return std::string("now"); };
  CHECK(ahead.take(1, made_now) == "now");
  ahead.prepare(2, [&] {
    maker = std::this_thread::get_id();
    return std::string("before");
  });
  CHECK(ahead.take(3, made_now) == "now");
  CHECK(ahead.take(2, made_now) == "before");
  CHECK(maker != std::this_thread::get_id());
  CHECK(ahead.take(2, made_now) == "now");
}

TEST_CASE("an exception while preparing comes out where the value is taken") {
  Ahead<int, int> ahead;
  ahead.prepare(1, []() -> int { fail("broken"); });
  CHECK(test::failure_of([&] { ahead.take(1, [] { return 0; }); }).message == "broken");
  ahead.prepare(2, []() -> int { fail("nobody asks for it"); });
  ahead.prepare(3, [] { return 3; });
  CHECK(ahead.take(3, [] { return 0; }) == 3);
}

TEST_CASE("what is in preparation ends before the holder does") {
  std::atomic<bool> ended{false};
  {
    Ahead<int, int> ahead;
    ahead.prepare(1, [&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      ended = true;
      return 1;
    });
  }
  CHECK(ended);
}
