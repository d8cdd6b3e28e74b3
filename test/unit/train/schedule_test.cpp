#include <catch2/catch.hpp>

#include "support/files.h"
#include "train/trainer.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

Schedule schedule(const std::string& kind, double rate, int64_t warmup, double min_rate = 0) {
  Schedule schedule;
  schedule.kind = kind;
  schedule.rate = rate;
  schedule.warmup = warmup;
  schedule.min_rate = min_rate;
  return schedule;
}

int exit_code(const TrainerOptions& options) {
  return failure_of([&] { options.check(); }).exit_code;
}

}  // namespace

TEST_CASE("every schedule rises in a line to its peak", "[schedule]") {
  for (const char* kind : {"inverse-sqrt", "cosine", "linear", "constant"}) {
    CAPTURE(kind);
    const Schedule s = schedule(kind, 0.8, 4, 0.2);
    CHECK(s.at(1, 12) == Approx(0.2));
    CHECK(s.at(2, 12) == Approx(0.4));
    CHECK(s.at(3, 12) == Approx(0.6));
    CHECK(s.at(4, 12) == Approx(0.8));
    for (const int64_t warmup : {0, 1}) CHECK(schedule(kind, 0.8, warmup).at(warmup, 12) == Approx(0.8));
  }
}

TEST_CASE("inverse square root", "[schedule]") {
  const Schedule s = schedule("inverse-sqrt", 0.8, 4);
  CHECK(s.at(9, 0) == Approx(0.8 * 2 / 3));
  CHECK(s.at(16, 0) == Approx(0.4));
  CHECK(s.at(400, 0) == Approx(0.08));
  const Schedule cold = schedule("inverse-sqrt", 0.8, 0);
  CHECK(cold.at(1, 0) == Approx(0.8));
  CHECK(cold.at(4, 0) == Approx(0.4));
}

TEST_CASE("cosine", "[schedule]") {
  const Schedule s = schedule("cosine", 0.8, 4, 0.2);
  CHECK(s.at(6, 12) == Approx(0.2 + 0.3 * (1 + std::sqrt(0.5))));
  CHECK(s.at(8, 12) == Approx(0.5));
  CHECK(s.at(10, 12) == Approx(0.2 + 0.3 * (1 - std::sqrt(0.5))));
  CHECK(s.at(12, 12) == Approx(0.2));
  CHECK(s.at(20, 12) == Approx(0.2));
}

TEST_CASE("linear and constant", "[schedule]") {
  const Schedule s = schedule("linear", 0.8, 4, 0.2);
  CHECK(s.at(6, 12) == Approx(0.65));
  CHECK(s.at(8, 12) == Approx(0.5));
  CHECK(s.at(12, 12) == Approx(0.2));
  CHECK(s.at(20, 12) == Approx(0.2));
  const Schedule constant = schedule("constant", 0.8, 4);
  CHECK(constant.at(5, 0) == 0.8);
  CHECK(constant.at(1000000, 0) == 0.8);
}

TEST_CASE("a training shorter than its warm-up stays in the rise", "[schedule]") {
  for (const char* kind : {"inverse-sqrt", "cosine", "linear", "constant"}) {
    CHECK(schedule(kind, 1.0, 10).at(5, 5) == Approx(0.5));
    CHECK(schedule(kind, 1.0, 10).at(10, 10) == Approx(1.0));
  }
}

TEST_CASE("schedules that lack what they need are usage errors", "[schedule]") {
  for (const char* kind : {"cosine", "linear"}) {
    const Failure failure = failure_of([&] { schedule(kind, 1, 4).check(0); });
    CHECK(failure.exit_code == kExitUsage);
    CHECK(failure.says("--max-updates"));
    CHECK(failure_of([&] { schedule(kind, 1, 4).check(9); }).exit_code == kExitDone);
  }
  for (const char* kind : {"inverse-sqrt", "constant"}) {
    CHECK(failure_of([&] { schedule(kind, 1, 4).check(0); }).exit_code == kExitDone);
  }
  for (const char* kind : {"cosine", "linear"}) {
    CHECK(failure_of([&] { schedule(kind, 1, 4, 1.5).check(9); }).says("--min-learning-rate 1.5 is above"));
    CHECK(failure_of([&] { schedule(kind, 1, 4, 1).check(9); }).exit_code == kExitDone);
    CHECK(failure_of([&] { schedule(kind, 1, 8).check(9); }).exit_code == kExitDone);
    const Failure rise = failure_of([&] { schedule(kind, 1, 9).check(9); });
    CHECK(rise.exit_code == kExitUsage);
    CHECK(rise.says("never ends within --max-updates 9"));
  }
  for (const char* kind : {"inverse-sqrt", "constant"}) {
    CHECK(failure_of([&] { schedule(kind, 1, 4, 0.1).check(9); }).exit_code == kExitUsage);
  }
}

TEST_CASE("durations", "[options]") {
  CHECK(parse_duration("") == 0);
  CHECK(parse_duration("45s") == 45);
  CHECK(parse_duration("90m") == 5400);
  CHECK(parse_duration("2h") == 7200);
  CHECK(parse_duration("1h30m") == 5400);
  CHECK(parse_duration("1h1m1s") == 3661);
  CHECK(parse_duration("1.5h") == 5400);
  CHECK(parse_duration("0.5s") == 0.5);
  for (const char* wrong : {"90", "h", "1d", "-5m", "1h30", "1 h", " 1h", "1h ", "1.2.3s", "1e3s", "1,5h", "1H", "nans", "."}) {
    CAPTURE(wrong);
    const Failure failure = failure_of([&] { parse_duration(wrong); });
    CHECK(failure.exit_code == kExitUsage);
    CHECK(failure.says(fmt::format("'{}'", wrong)));
    CHECK(failure.says("--max-time"));
  }
}

TEST_CASE("trainer options that do not go together are usage errors", "[options]") {
  TrainerOptions endless;
  CHECK(failure_of([&] { endless.check(); }).says("would never end"));
  CHECK(exit_code(endless) == kExitUsage);
  TrainerOptions options;
  options.max_updates = 10;
  CHECK(exit_code(options) == kExitDone);
  options.average = options.keep_last;
  CHECK(exit_code(options) == kExitDone);
  ++options.average;
  CHECK(failure_of([&] { options.check(); }).says("--keep-last 4 or more, found 3"));
  CHECK(exit_code(options) == kExitUsage);
  for (const auto set_limit : {+[](TrainerOptions& o) { o.max_epochs = 1; }, +[](TrainerOptions& o) { o.max_time = "1h"; },
                               +[](TrainerOptions& o) { o.early_stopping = 1; }}) {
    TrainerOptions limited;
    set_limit(limited);
    CHECK(exit_code(limited) == kExitDone);
    limited.schedule.kind = "cosine";
    CHECK(exit_code(limited) == (limited.max_epochs > 0 ? kExitDone : kExitUsage));  // what ends with an epoch has an end that is known
  }
  TrainerOptions time;
  for (const char* wrong : {"soon", "0s", "0h0m"}) {
    time.max_time = wrong;
    CHECK(exit_code(time) == kExitUsage);
  }
}
