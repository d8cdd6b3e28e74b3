#include <catch2/catch.hpp>

#include "base/error.h"
#include "infer/windows.h"

using namespace seqmill;
using infer::Window;

TEST_CASE("windows score every token but the first once, in order, within the model's positions") {
  for (const int64_t tokens : {0, 1, 2, 3, 7, 8, 9, 16, 17, 100}) {
    for (const int64_t window : {1, 2, 5, 8, 200}) {
      for (int64_t stride = 1; stride <= window && stride <= 9; ++stride) {
        int64_t next = 1;
        for (const Window& part : infer::plan_windows(tokens, window, stride)) {
          CAPTURE(tokens, window, stride, part.begin);
          CHECK(part.first_scored == next);
          CHECK(part.begin < part.first_scored);
          CHECK(part.first_scored < part.end);
          CHECK(part.end - part.begin - 1 <= window);
          if (part.begin > 0) CHECK(part.first_scored - part.begin >= window - stride + 1);
          next = part.end;
        }
        CHECK(next == std::max<int64_t>(tokens, 1));
      }
    }
  }
}

TEST_CASE("windows whose stride is their length share no input") {
  const std::vector<Window> windows = infer::plan_windows(10, 4, 4);
  REQUIRE(windows.size() == 3);
  CHECK(windows[0].begin == 0);
  CHECK(windows[0].end == 5);
  CHECK(windows[1].begin == 4);
  CHECK(windows[1].first_scored == 5);
  CHECK(windows[1].end == 9);
  CHECK(windows[2].begin == 8);
  CHECK(windows[2].end == 10);
}

TEST_CASE("a stride beyond the window would leave tokens out and is refused") {
  CHECK_THROWS_AS(infer::plan_windows(10, 4, 5), Error);
  CHECK_THROWS_AS(infer::plan_windows(10, 4, 0), Error);
  CHECK_THROWS_AS(infer::plan_windows(10, 0, 0), Error);
}
