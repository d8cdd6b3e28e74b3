#include <csignal>
#include <set>

#include "fake_task.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

/// Everything that has a state: moments, moving average, schedule, best checkpoints, accumulation across epochs.
TrainerOptions busy_options() {
  TrainerOptions options = plain_options(24);
  options.accumulate = 2;
  options.ema = 0.9;
  options.clip = 0.5;
  options.save_every = 5;
  options.validate_every = 7;
  options.log_every = 4;
  options.keep_last = 3;
  options.keep_best = 2;
  options.schedule.kind = "cosine";
  options.schedule.warmup = 3;
  options.optimizer.kind = "adamw";
  options.optimizer.weight_decay = 0.1;
  return options;
}

std::unique_ptr<FakeTask> busy_task() {
  auto task = std::make_unique<FakeTask>(std::vector<int64_t>{2, 1, 3, 2, 2});
  task->noisy = true;
  return task;
}

io::Json without_seconds(const io::Json& json) {
  io::Json rest = io::Json::object();
  for (const auto& [key, value] : json.as_object()) {
    if (key != "seconds" && key != "wall") rest.set(key, value);
  }
  return rest;
}

/// The checkpoints of two runs differ in nothing but the time they took.
void check_same_checkpoints(const std::string& first, const std::string& second) {
  const io::RunDir a(first), b(second);
  REQUIRE(a.checkpoints() == b.checkpoints());
  CHECK(a.linked("last") == b.linked("last"));
  CHECK(a.linked("best") == b.linked("best"));
  for (const std::string& name : a.checkpoints()) {
    const std::string x = a.checkpoint_path(name), y = b.checkpoint_path(name);
    CHECK((get(x + "/model.safetensors") == get(y + "/model.safetensors")));
    CHECK((get(x + "/optim.safetensors") == get(y + "/optim.safetensors")));
    const auto state = [](const std::string& path) { return without_seconds(io::read_json(path + "/state.json")).dump(); };
    CHECK(state(x) == state(y));
  }
}

std::vector<std::string> steps_and_splits(const std::string& run) {
  std::vector<std::string> list;
  for (const io::Json& event : events_of(run)) {
    list.push_back(fmt::format("{} {}", event.at("step").as_int(), event.at("split").as_string()));
  }
  return list;
}

}  // namespace

TEST_CASE("killed and resumed equals uninterrupted, bit for bit", "[resume]") {
  const TempDir dir;
  const TrainerOptions options = busy_options();
  const auto whole = busy_task();
  train_in(dir / "whole", *whole, options);
  REQUIRE(whole->values.size() == 48);
  // Numbers of micro-batches: before the first checkpoint, right after it, inside an update, several times in one run.
  const std::vector<std::vector<int64_t>> kills{{9}, {10}, {0, 14, 15}, {27, 33, 47}, {20, 30, 31}};
  for (size_t k = 0; k < kills.size(); ++k) {
    CAPTURE(k);
    const std::string run = dir / fmt::format("killed-{}", k);
    for (const int64_t number : kills[k]) {
      const auto task = busy_task();
      task->troubles[number] = Trouble::kKilled;
      CHECK_THROWS_WITH(train_in(run, *task, options), "killed");
    }
    const auto task = busy_task();
    train_in(run, *task, options);
    CHECK(same_bits(task->flat(), whole->flat()));
    const auto repeated = static_cast<std::ptrdiff_t>(task->keys.size());
    CHECK(task->keys == std::vector<uint64_t>(whole->keys.end() - repeated, whole->keys.end()));
    check_same_checkpoints(run, dir / "whole");
    CHECK(steps_and_splits(run) == steps_and_splits(dir / "whole"));
    const std::vector<io::Json> valid = events_of(run, "valid"), expected = events_of(dir / "whole", "valid");
    for (size_t i = 0; i < valid.size(); ++i) CHECK(without_seconds(valid[i]).dump() == without_seconds(expected.at(i)).dump());
  }
}

TEST_CASE("a run killed while it validates validates again", "[resume]") {
  const TempDir dir;
  const TrainerOptions options = busy_options();
  const auto whole = busy_task(), killed = busy_task(), resumed = busy_task();
  train_in(dir / "whole", *whole, options);
  killed->killed_in_validation = 1;
  CHECK_THROWS_WITH(train_in(dir / "run", *killed, options), "killed");
  train_in(dir / "run", *resumed, options);
  check_same_checkpoints(dir / "run", dir / "whole");
  CHECK(steps_and_splits(dir / "run") == steps_and_splits(dir / "whole"));
}

TEST_CASE("a longer limit goes on from the end", "[resume]") {
  const TempDir dir;
  TrainerOptions options = busy_options();
  options.schedule.kind = "constant";
  const auto whole = busy_task(), first = busy_task(), second = busy_task(), third = busy_task();
  train_in(dir / "whole", *whole, options);
  options.max_updates = 14;  // where a validation is due: the end of a run has one anyway
  train_in(dir / "run", *first, options);
  options.max_updates = 24;
  train_in(dir / "run", *second, options);
  CHECK(first->values.size() + second->values.size() == 48);
  check_same_checkpoints(dir / "run", dir / "whole");
  train_in(dir / "run", *third, options);  // nothing is left to do
  CHECK(third->values.empty());
  check_same_checkpoints(dir / "run", dir / "whole");
}

TEST_CASE("a half written event is dropped with what follows the checkpoint", "[resume]") {
  const TempDir dir;
  const TrainerOptions options = busy_options();
  const auto whole = busy_task(), killed = busy_task(), resumed = busy_task();
  train_in(dir / "whole", *whole, options);
  killed->troubles[34] = Trouble::kKilled;
  CHECK_THROWS_WITH(train_in(dir / "run", *killed, options), "killed");
  put(dir / "run/metrics.jsonl", get(dir / "run/metrics.jsonl") + "{\"step\":17,\"wal" + std::string(20, '\0'));
  train_in(dir / "run", *resumed, options);
  CHECK(steps_and_splits(dir / "run") == steps_and_splits(dir / "whole"));
}

TEST_CASE("whether a run may go on", "[resume]") {
  const TempDir dir;
  const TrainerOptions options = plain_options(2);
  {
    const io::RunDir run(dir / "run");
    CHECK_FALSE(will_resume(run, "auto"));
    CHECK_FALSE(will_resume(run, "never"));
    const Failure failure = failure_of([&] { will_resume(run, "must"); });
    CHECK(failure.exit_code == kExitFailure);
    CHECK(failure.says(run.path() + " holds no checkpoint"));
  }
  FakeTask task;
  train_in(dir / "run", task, options);
  const io::RunDir run(dir / "run");
  CHECK(will_resume(run, "auto"));
  CHECK(will_resume(run, "must"));
  const Failure failure = failure_of([&] { will_resume(run, "never"); });
  CHECK(failure.exit_code == kExitFailure);
  CHECK(failure.says(run.path() + " already holds checkpoints"));
}

TEST_CASE("time is counted over all sessions", "[resume]") {
  const TempDir dir;
  TrainerOptions options = plain_options(3);
  FakeTask first, second, third;
  train_in(dir / "run", first, options);
  const std::string state = dir / "run/ckpt/last/state.json";
  io::Json json = io::read_json(state);
  json.set("seconds", 4000.0);
  put(state, json.dump());
  options.max_updates = 10;
  options.max_time = "1h";
  train_in(dir / "run", second, options);
  CHECK(second.values.empty());
  options.max_time = "100h";
  train_in(dir / "run", third, options);
  CHECK(third.values.size() == 7);
  CHECK(progress_of(dir / "run/ckpt/last").seconds >= 4000);
}

TEST_CASE("an average that goes on being trained is made and reported once", "[resume]") {
  const TempDir dir;
  TrainerOptions options = busy_options();
  options.schedule.kind = "constant";
  options.average = 2;
  options.max_updates = 14;
  train_in(dir / "run", *busy_task(), options);
  const at::Tensor before = weights_in(dir / "run/average/model.safetensors");
  options.max_updates = 24;
  train_in(dir / "run", *busy_task(), options);
  const std::vector<io::Json> events = events_of(dir / "run", "average");
  REQUIRE(events.size() == 1);
  CHECK(events[0].at("step").as_int() == 24);
  CHECK_FALSE(same_bits(before, weights_in(dir / "run/average/model.safetensors")));
}

TEST_CASE("a moving average cannot begin or end within a run", "[resume]") {
  const TempDir dir;
  for (const double ema : {0.0, 0.9}) {
    TrainerOptions options = plain_options(2);
    options.ema = ema;
    const std::string run = dir / fmt::format("run-{}", ema);
    FakeTask first, second;
    train_in(run, first, options);
    options.ema = ema > 0 ? 0 : 0.9;
    options.max_updates = 4;
    const Failure failure = failure_of([&] { train_in(run, second, options); });
    CHECK(failure.exit_code == kExitUsage);
    CHECK(failure.says(ema > 0 ? "begun with a moving average" : "begun without a moving average"));
    CHECK(second.values.empty());
  }
}

TEST_CASE("validations that are not finite are never best and do not bar the way", "[resume]") {
  const TempDir dir;
  TrainerOptions options = plain_options(3);
  options.validate_every = 1;
  FakeTask first, second;
  first.losses = {NAN, INFINITY, NAN};
  train_in(dir / "run", first, options);
  CHECK(io::RunDir(dir / "run").linked("best").empty());
  CHECK(progress_of(dir / "run/ckpt/last").validations_without_gain == 3);
  options.max_updates = 7;
  second.losses = {5, NAN, 4, 6};
  train_in(dir / "run", second, options);
  CHECK(io::RunDir(dir / "run").linked("best") == "step-00000006");
  CHECK(progress_of(dir / "run/ckpt/last").validations_without_gain == 1);
}

TEST_CASE("what is best is found anew under another score, or without its checkpoint", "[resume]") {
  const TempDir dir;
  for (const bool other_score : {true, false}) {
    CAPTURE(other_score);
    const std::string run = dir / (other_score ? "score" : "lost");
    TrainerOptions options = plain_options(3);
    options.validate_every = 1;
    FakeTask first, second;
    first.losses = {1, 2, 3};
    first.bleus = {10, 10, 10};
    train_in(run, first, options);
    CHECK(io::RunDir(run).linked("best") == "step-00000001");
    if (other_score) {
      // Until a score of the new kind is known, the old best stays.
      options.stop_on = "bleu";
      options.keep_last = 1;
      FakeTask none;
      none.losses = {7};
      none.bleus = {1};
      options.max_updates = 3;
      train_in(run, none, options);
      CHECK(none.values.empty());
      CHECK(none.validated.size() == 1);
      CHECK(io::RunDir(run).linked("best") == "step-00000003");
    }
    if (!other_score) fs::remove_all(run + "/ckpt/step-00000001");
    options.max_updates = 5;
    second.losses = {9, 8};
    second.bleus = {5, 4};
    train_in(run, second, options);
    CHECK(io::RunDir(run).linked("best") == (other_score ? "step-00000004" : "step-00000005"));
  }
}

TEST_CASE("a session that is refused has not begun", "[resume]") {
  const TempDir dir;
  FakeTask first, second;
  TrainerOptions options = plain_options(3);
  train_in(dir / "run", first, options);
  options.ema = 0.5;
  bool begun = false;
  io::RunDir run(dir / "run");
  Ranks alone;
  CHECK(failure_of([&] { seqmill::train::train(second, run, options, 7, false, alone, [&] { begun = true; }); }).exit_code == kExitUsage);
  CHECK_FALSE(begun);
}

TEST_CASE("training that ends while updates are skipped has diverged", "[resume]") {
  const TempDir dir;
  FakeTask task;
  TrainerOptions options = plain_options(6);
  options.save_every = 2;
  options.validate_every = 1000;
  for (const int64_t number : {4, 5}) task.troubles[number] = Trouble::kNanLoss;
  const Failure failure = failure_of([&] { train_in(dir / "run", task, options); });
  CHECK(failure.exit_code == kExitDiverged);
  CHECK(failure.says("its last 2 updates"));
  CHECK(io::RunDir(dir / "run").linked("last") == "step-00000004");
}

TEST_CASE("a checkpoint that is due at a skipped update comes with the next good one", "[resume]") {
  const TempDir dir;
  FakeTask task;
  TrainerOptions options = plain_options(9);
  options.save_every = 4;
  options.validate_every = 1000;
  options.keep_last = 9;
  task.troubles[3] = Trouble::kNanLoss;
  train_in(dir / "run", task, options);
  CHECK(io::RunDir(dir / "run").checkpoints() == std::vector<std::string>{"step-00000005", "step-00000008", "step-00000009"});
}

TEST_CASE("a damaged state is an error that names the file", "[resume]") {
  const TempDir dir;
  FakeTask first, second;
  train_in(dir / "run", first, plain_options(3));
  put(dir / "run/ckpt/last/state.json", "{\"format\":9}");
  const Failure failure = failure_of([&] { train_in(dir / "run", second, plain_options(5)); });
  CHECK(failure.exit_code == kExitFailure);
  CHECK(failure.says("state.json: format version 9"));
}

TEST_CASE("a stop signal saves and ends with 128 and its number", "[resume]") {
  // Asked for in the fifth update; in the second case updates are being skipped since the fourth.
  for (const bool skipping : {false, true}) {
    CAPTURE(skipping);
    const TempDir dir;
    const int status = in_child([&] {
      FakeTask task;
      TrainerOptions options = plain_options(100);
      options.save_every = 2;
      options.validate_every = 1000;
      for (int64_t number = 3; skipping && number < 9; ++number) task.troubles[number] = Trouble::kNanLoss;
      task.before_next = [&] {
        if (task.values.size() == 4) std::raise(SIGTERM);
      };
      return failure_of([&] { train_in(dir / "run", task, options); }).exit_code;
    });
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == kExitSignalBase + SIGTERM);
    CHECK(progress_of(dir / "run/ckpt/last").update == (skipping ? 2 : 5));
  }
}
