#include <catch2/catch.hpp>

#include "support/files.h"
#include "train/checkpoint.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

Progress some_progress() {
  Progress progress;
  progress.update = 12000;
  progress.optimizer_steps = 11990;
  progress.skipped = 10;
  progress.seconds = 3600.0625;
  progress.target_tokens = int64_t{1} << 40;
  progress.validated = 11500;
  progress.validations_without_gain = 2;
  progress.best_by = "bleu";
  progress.averages = true;
  progress.best = {{"step-00009000", -0.1}, {"step-00011000", -1.0 / 3}};
  progress.cursor = io::parse_json("{\"epoch\":3,\"batch\":17}", "cursor");
  return progress;
}

}  // namespace

TEST_CASE("progress survives a round trip through its text", "[progress]") {
  const Progress progress = some_progress();
  for (const std::string& text : {progress.to_json().dump(), progress.to_json().dump_pretty()}) {
    const Progress read = Progress::from_json(io::parse_json(text, "text"), "text");
    CHECK(read.update == progress.update);
    CHECK(read.optimizer_steps == progress.optimizer_steps);
    CHECK(read.skipped == progress.skipped);
    CHECK(read.seconds == progress.seconds);
    CHECK(read.target_tokens == progress.target_tokens);
    CHECK(read.validated == progress.validated);
    CHECK(read.validations_without_gain == progress.validations_without_gain);
    CHECK(read.best_by == progress.best_by);
    CHECK(read.averages == progress.averages);
    REQUIRE(read.best.size() == 2);
    for (size_t i = 0; i < 2; ++i) {
      CHECK(read.best[i].checkpoint == progress.best[i].checkpoint);
      CHECK(read.best[i].score == progress.best[i].score);
    }
    CHECK(read.cursor.dump() == progress.cursor.dump());
  }
  CHECK(Progress::from_json(Progress().to_json(), "text").best.empty());
}

TEST_CASE("another format version is refused", "[progress]") {
  io::Json json = some_progress().to_json();
  CHECK(json.at("format").as_int() == kCheckpointFormat);
  json.set("format", kCheckpointFormat + 1);
  const Failure failure = failure_of([&] { Progress::from_json(json, "run/state.json"); });
  CHECK(failure.exit_code == kExitFailure);
  CHECK(failure.says("run/state.json: format version 2 where this program reads 1"));
}

TEST_CASE("missing fields and fields of another type are refused by name", "[progress]") {
  const io::Json whole = some_progress().to_json();
  for (const auto& [key, value] : whole.as_object()) {
    CAPTURE(key);
    io::Json part = io::Json::object();
    for (const auto& [other, kept] : whole.as_object()) {
      if (other != key) part.set(other, kept);
    }
    const Failure failure = failure_of([&] { Progress::from_json(part, "state.json"); });
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says("state.json: "));
    CHECK(failure.says(key));
    if (key == "cursor") continue;  // the task's own
    io::Json wrong = whole;
    wrong.set(key, value.is_string() ? io::Json(1) : io::Json("text"));
    CHECK(failure_of([&] { Progress::from_json(wrong, "state.json"); }).says("state.json: "));
  }
}
