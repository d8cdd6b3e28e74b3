#include "fake_task.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

using Names = std::vector<std::string>;

std::string step(int64_t update) { return fmt::format("step-{:08}", update); }

Names steps(const std::vector<int64_t>& updates) {
  Names names;
  for (const int64_t update : updates) names.push_back(step(update));
  return names;
}

/// Trains with one validation per update, whose losses are given.
void train_with_losses(const std::string& run, const std::vector<double>& losses, TrainerOptions options,
                       const std::vector<double>& bleus = {}) {
  FakeTask task;
  task.losses = losses;
  task.bleus = bleus;
  options.validate_every = 1;
  train_in(run, task, options);
}

}  // namespace

TEST_CASE("the newest and the best checkpoints stay", "[checkpoints]") {
  const TempDir dir;
  TrainerOptions options = plain_options(7);
  options.keep_last = 2;
  options.keep_best = 2;
  train_with_losses(dir / "a", {5, 3, 4, 2, 6, 7, 8}, options);
  const io::RunDir a(dir / "a");
  CHECK(a.checkpoints() == steps({2, 4, 6, 7}));
  CHECK(a.linked("best") == step(4));
  CHECK(a.linked("last") == step(7));
  const Progress progress = progress_of(a.file("ckpt/last"));
  REQUIRE(progress.best.size() == 2);
  CHECK((progress.best[0].checkpoint == step(4) && progress.best[0].score == -2));
  CHECK((progress.best[1].checkpoint == step(2) && progress.best[1].score == -3));
  CHECK(progress.validations_without_gain == 3);

  options.keep_last = 1;
  options.keep_best = 1;
  train_with_losses(dir / "b", {5, 3, 4, 2, 6, 7, 1}, options);
  const io::RunDir b(dir / "b");
  CHECK(b.checkpoints() == steps({7}));
  CHECK((b.linked("best") == step(7) && b.linked("last") == step(7)));
}

TEST_CASE("checkpoints between validations", "[checkpoints]") {
  const TempDir dir;
  FakeTask task;
  TrainerOptions options = plain_options(11);
  options.save_every = 3;
  options.validate_every = 1000;
  options.keep_last = 100;
  train_in(dir / "run", task, options);
  const io::RunDir run(dir / "run");
  CHECK(run.checkpoints() == steps({3, 6, 9, 11}));
  CHECK(run.linked("best") == step(11));  // validated at the end
  for (const int64_t update : {3, 6, 9}) {
    const std::string file = run.checkpoint_path(step(update)) + "/model.safetensors";
    CHECK(same_bits(weights_in(file), task.values[static_cast<size_t>(update)]));
  }
  CHECK(progress_of(run.checkpoint_path(step(6))).cursor.dump() == "{\"epoch\":2,\"batch\":0}");
}

TEST_CASE("equal scores are no gain", "[checkpoints]") {
  const TempDir dir;
  TrainerOptions options = plain_options(3);
  train_with_losses(dir / "run", {2, 2, 2}, options);
  CHECK(io::RunDir(dir / "run").linked("best") == step(1));
  CHECK(progress_of(dir / "run/ckpt/last").validations_without_gain == 2);
}

TEST_CASE("training stops early without gain", "[checkpoints]") {
  const TempDir dir;
  TrainerOptions options = plain_options(0);
  options.early_stopping = 2;
  train_with_losses(dir / "run", {5, 4, 4.5, 3, 3.5, 3, 1, 1}, options);
  const io::RunDir run(dir / "run");
  CHECK(run.linked("last") == step(6));
  CHECK(run.linked("best") == step(4));
}

TEST_CASE("another score can decide, the larger the better", "[checkpoints]") {
  const TempDir dir;
  TrainerOptions options = plain_options(0);
  options.early_stopping = 2;
  options.stop_on = "bleu";
  train_with_losses(dir / "run", {5, 4, 3, 2, 1, 0}, options, {10, 30, 20, 25, 40, 50});
  const io::RunDir run(dir / "run");
  CHECK(run.linked("last") == step(4));
  CHECK(run.linked("best") == step(2));
  CHECK(progress_of(run.file("ckpt/last")).best[0].score == 30);
  const io::Json event = events_of(dir / "run", "valid").at(1);
  CHECK(event.at("loss").as_double() == 4);
  CHECK(event.at("bleu").as_double() == 30);
}

TEST_CASE("the mean of the newest checkpoints is written as a model directory", "[checkpoints]") {
  const TempDir dir;
  {
    const io::RunDir run(dir / "run");
    put(run.file("config.yaml"), "model:\n  type: fake\n");
    put(run.file("vocab.spm"), "pieces");
  }
  FakeTask task;
  TrainerOptions options = plain_options(9);
  options.save_every = 2;
  options.validate_every = 1000;
  options.keep_last = 4;
  options.average = 3;
  train_in(dir / "run", task, options);
  // Checkpoints 4, 6, 8 and 9; task.values holds what was there before the next update.
  const io::RunDir run(dir / "run");
  CHECK(run.checkpoints() == steps({4, 6, 8, 9}));
  const at::Tensor last = weights_in(run.file("ckpt/last/model.safetensors"));
  const at::Tensor mean = (task.values[6].to(at::kDouble) + task.values[8] + last) / 3;
  CHECK(difference(weights_in(run.file("average/model.safetensors")), mean) < 1e-7);
  CHECK(get(run.file("average/config.yaml")) == "model:\n  type: fake\n");
  CHECK(get(run.file("average/vocab.spm")) == "pieces");
  Names files;
  for (const auto& entry : fs::directory_iterator(run.file("average"))) files.push_back(entry.path().filename().string());
  std::sort(files.begin(), files.end());
  CHECK(files == Names{"config.yaml", "model.safetensors", "vocab.spm"});
  const std::vector<io::Json> events = events_of(run.path(), "average");
  REQUIRE(events.size() == 1);
  CHECK(events[0].at("step").as_int() == 9);
  const double loss = (mean.narrow(0, 0, 3) + mean.narrow(0, 3, 3) - task.data).pow(2).sum().item<double>();
  CHECK(events[0].at("loss").as_double() == Approx(loss).epsilon(1e-5));
}

TEST_CASE("a run of fewer checkpoints is averaged over those there are", "[checkpoints]") {
  const TempDir dir;
  FakeTask task;
  TrainerOptions options = plain_options(2);
  options.average = 3;
  train_in(dir / "run", task, options);
  CHECK(same_bits(weights_in(dir / "run/average/model.safetensors"), weights_in(dir / "run/ckpt/last/model.safetensors")));
}
