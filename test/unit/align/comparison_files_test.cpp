#include "align/comparison_files.h"

#include <catch2/catch.hpp>

#include "align/make_all.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;

namespace {

struct Placed {
  std::string place;
};

}  // namespace

TEST_CASE("the window of comparisons", "[comparison-files]") {
  const auto window = [](int64_t asked, int64_t positions) {
    ComparisonFiles files;
    files.window = asked;
    files.resolve(positions);
    return files.window;
  };
  CHECK((window(0, 64) == 64 && window(0, 4096) == 512 && window(600, 4096) == 600 && window(64, 64) == 64));
  const Failure large = failure_of([&] { window(65, 64); });
  CHECK((large.exit_code == kExitUsage && large.says("--window 65: the model has 64 positions")));
}

TEST_CASE("comparisons of a training cannot be standard input", "[comparison-files]") {
  for (const bool trains : {true, false}) {
    ComparisonFiles files;
    (trains ? files.train : files.valid) = {"a.jsonl", "-"};
    const Failure input = failure_of([&] { files.resolve(64); });
    CHECK((input.exit_code == kExitUsage && input.says("cannot be standard input")));
  }
}

TEST_CASE("of several bad items the first is named, whichever thread had it", "[comparison-files]") {
  set_threads(4);
  std::vector<Placed> items;
  for (int i = 0; i < 200; ++i) items.push_back({fmt::format("line {}", i)});
  const std::vector<size_t> squares = make_all<size_t>(items, [](size_t i) { return i * i; });
  CHECK((squares.size() == 200 && squares[0] == 0 && squares[199] == 199 * 199));
  const Failure bad = failure_of([&] {
    make_all<size_t>(items, [](size_t i) {
      if (i == 37) fail_usage("odd");
      if (i > 150) fail("late");
      return i;
    });
  });
  CHECK((bad.exit_code == kExitUsage && bad.says("line 37: odd")));
  set_threads(1);
}
