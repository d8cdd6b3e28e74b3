#include <set>

#include "fake_task.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

/// The gradient of the mean loss of these rows, which `a` and `b` share.
std::vector<double> mean_gradient(const FakeTask& task, const std::vector<double>& values, int64_t begin, int64_t size) {
  const std::vector<double> mean = doubles(task.data.narrow(0, begin, size).to(at::kDouble).mean(0));
  std::vector<double> gradient(values.size());
  for (size_t i = 0; i < mean.size(); ++i) gradient[i] = gradient[i + 3] = values[i] + values[i + 3] - mean[i];
  return gradient;
}

double norm_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("a cosine over epochs ends with the last of them", "[trainer]") {
  TempDir dir;
  FakeTask task({2, 2, 2, 2});
  TrainerOptions options = plain_options(0);
  options.max_epochs = 3;
  options.accumulate = 2;
  options.schedule.kind = "cosine";
  train_in(dir / "run", task, options);
  const std::vector<io::Json> events = events_of(dir / "run", "train");
  REQUIRE(events.size() == 6);
  CHECK(events[2].at("learning-rate").as_double() == Approx(0.05 / 2));
  CHECK(events.back().at("learning-rate").as_double() == Approx(0).margin(1e-12));
}

TEST_CASE("training takes exactly the updates it is given", "[trainer]") {
  const TempDir dir;
  FakeTask task;
  train_in(dir / "run", task, plain_options(7));
  CHECK(task.values.size() == 7);
  CHECK(task.validated.size() == 3);  // at the end of either epoch, and at the end
  const Progress progress = progress_of(dir / "run/ckpt/last");
  CHECK(progress.update == 7);
  CHECK(progress.optimizer_steps == 7);
  CHECK(progress.skipped == 0);
  CHECK(progress.target_tokens == 14);
  CHECK(progress.cursor.dump() == "{\"epoch\":2,\"batch\":1}");
  CHECK(events_of(dir / "run", "train").size() == 7);
  CHECK(events_of(dir / "run", "valid").size() == 3);
}

TEST_CASE("training ends with an epoch", "[trainer]") {
  const TempDir dir;
  FakeTask task;
  TrainerOptions options = plain_options(0);
  options.max_epochs = 4;
  train_in(dir / "run", task, options);
  CHECK(task.values.size() == 12);
  CHECK(progress_of(dir / "run/ckpt/last").update == 12);
  options.max_updates = 5;  // the first limit counts
  FakeTask second;
  train_in(dir / "second", second, options);
  CHECK(second.values.size() == 5);
}

TEST_CASE("validations and logs come as often as asked for", "[trainer]") {
  const TempDir dir;
  FakeTask task;
  TrainerOptions options = plain_options(10);
  options.validate_every = 4;
  options.log_every = 3;
  train_in(dir / "run", task, options);
  std::vector<int64_t> valid, logged;
  for (const io::Json& event : events_of(dir / "run", "valid")) valid.push_back(event.at("step").as_int());
  for (const io::Json& event : events_of(dir / "run", "train")) logged.push_back(event.at("step").as_int());
  CHECK(valid == std::vector<int64_t>{4, 8, 10});  // both of the rest too, at the end
  CHECK(logged == std::vector<int64_t>{3, 6, 9, 10});
}

TEST_CASE("the updates are Adam's, on clipped means over the tokens", "[trainer]") {
  for (const double clip : {0.0, 0.1}) {
    CAPTURE(clip);
    const TempDir dir;
    FakeTask task({2, 3, 1});
    TrainerOptions options = plain_options(6);
    options.clip = clip;
    options.optimizer.epsilon = 0.05;  // without it Adam hides the length of a gradient
    options.optimizer.weight_decay = 0.1;
    options.schedule.kind = "linear";
    options.schedule.warmup = 2;
    ReferenceAdam adam{options.optimizer, {}, {}, 0};
    std::vector<double> values = doubles(task.flat());
    std::vector<double> norms;
    const std::vector<int64_t> begins{0, 2, 5};
    for (size_t update = 0; update < 6; ++update) {
      std::vector<double> gradient = mean_gradient(task, values, begins[update % 3], task.sizes[update % 3]);
      norms.push_back(norm_of(gradient));
      for (double& g : gradient) g *= clip > 0 && norms.back() > clip ? clip / norms.back() : 1;
      adam.step(values, gradient, {true, true, true, false, false, false},
                options.schedule.at(static_cast<int64_t>(update) + 1, 6));
    }
    train_in(dir / "run", task, options);
    CHECK(difference(task.flat(), at::tensor(values, at::kDouble)) < 1e-5);
    const std::vector<io::Json> events = events_of(dir / "run", "train");
    REQUIRE(events.size() == 6);
    for (size_t update = 0; update < 6; ++update) {
      CHECK(events[update].at("gradient-norm").as_double() == Approx(norms[update]).epsilon(1e-4));
      CHECK(events[update].at("learning-rate").as_double() == options.schedule.at(static_cast<int64_t>(update) + 1, 6));
    }
  }
}

TEST_CASE("events hold means over the tokens since the last one", "[trainer]") {
  const TempDir dir;
  FakeTask task({2, 3, 1});
  TrainerOptions options = plain_options(3);
  options.log_every = 3;
  options.schedule.rate = 1e-12;
  double sum = 0;
  for (int64_t row = 0; row < 6; ++row) sum += (task.a + task.b - task.data[row]).pow(2).sum().item<double>() / 2;
  train_in(dir / "run", task, options);
  const io::Json event = events_of(dir / "run", "train").at(0);
  CHECK(event.at("loss").as_double() == Approx(sum / 6).epsilon(1e-5));
  CHECK(event.at("nll").as_double() == Approx(sum / 12).epsilon(1e-5));
  CHECK(event.at("ppl").as_double() == Approx(std::exp(sum / 12)).epsilon(1e-5));
  CHECK(event.at("epoch").as_double() == 1.0);
  CHECK(event.at("skipped").as_int() == 0);
  const double target_rate = event.at("target-tokens-per-second").as_double();
  CHECK(event.at("source-tokens-per-second").as_double() == Approx(10 * target_rate));
  double seconds = 0;
  for (const char* work : {"batches", "products", "attention", "loss", "elementwise", "optimizer", "ranks", "other"}) {
    seconds += event.at("seconds-by-work").at(work).as_double();
  }
  CHECK(event.at("seconds-by-work").at("optimizer").as_double() > 0);
  CHECK(seconds == Approx(6 / target_rate));
}

TEST_CASE("accumulated batches are one big batch", "[trainer]") {
  const TempDir dir;
  FakeTask parts({1, 3, 2, 2}), whole({4, 4});
  TrainerOptions options = plain_options(5);
  options.optimizer.epsilon = 0.05;
  options.clip = 0.5;
  train_in(dir / "whole", whole, options);
  options.accumulate = 2;
  train_in(dir / "parts", parts, options);
  CHECK(parts.values.size() == 10);
  CHECK(progress_of(dir / "parts/ckpt/last").update == 5);
  CHECK(progress_of(dir / "parts/ckpt/last").target_tokens == 20);
  CHECK(difference(parts.flat(), whole.flat()) < 1e-6);
  CHECK(difference(whole.flat(), FakeTask().flat()) > 0.05);
}

TEST_CASE("every micro-batch has a dropout stream of its own, named by the update", "[trainer]") {
  const TempDir dir;
  FakeTask task, again, other;
  TrainerOptions options = plain_options(6);
  options.accumulate = 2;
  train_in(dir / "a", task, options, 1);
  train_in(dir / "b", again, options, 1);
  train_in(dir / "c", other, options, 2);
  CHECK(std::set<uint64_t>(task.keys.begin(), task.keys.end()).size() == 12);
  CHECK(task.keys == again.keys);
  CHECK(task.keys != other.keys);
  CHECK(task.keys[7] == tensor::DropoutStream(1, 4, 1).next(0.5).key);
}

TEST_CASE("the moving average is validated and saved, the raw weights are trained", "[trainer]") {
  const TempDir dir;
  for (const double ema : {0.3, 0.999}) {  // one below and one above the early decay
    CAPTURE(ema);
    FakeTask task;
    TrainerOptions options = plain_options(6);
    options.ema = ema;
    options.validate_every = 2;
    const std::string run = dir / fmt::format("run-{}", ema);
    train_in(run, task, options);
    std::vector<at::Tensor> raw = task.values;  // before the updates 1, 2, ...
    raw.push_back(task.flat());
    at::Tensor average = raw[0].to(at::kDouble);
    for (int64_t step = 1; step <= 6; ++step) {
      const double decay = std::min(ema, (1.0 + static_cast<double>(step)) / (10.0 + static_cast<double>(step)));
      average = average * decay + raw[static_cast<size_t>(step)] * (1 - decay);
      if (step % 2 == 0) CHECK(difference(task.validated[static_cast<size_t>(step / 2 - 1)], average) < 1e-6);
    }
    CHECK(difference(weights_in(run + "/ckpt/last/model.safetensors"), average) < 1e-6);
    CHECK(same_bits(weights_in(run + "/ckpt/last/optim.safetensors", ".raw"), task.flat()));
    CHECK(difference(average, task.flat()) > 1e-3);
  }
}

TEST_CASE("an update that is not finite is left out and counted", "[trainer]") {
  for (const Trouble trouble : {Trouble::kNanLoss, Trouble::kInfiniteLoss, Trouble::kNanGradient}) {
    for (const int64_t accumulate : {1, 2}) {
      CAPTURE(static_cast<int>(trouble), accumulate);
      const TempDir dir;
      FakeTask task;
      task.troubles[2] = trouble;
      TrainerOptions options = plain_options(5);
      options.accumulate = accumulate;
      options.ema = 0.5;
      train_in(dir / "run", task, options);
      const auto bad = static_cast<size_t>(2 / accumulate), step = static_cast<size_t>(accumulate);
      CHECK(same_bits(task.values[bad * step], task.values[(bad + 1) * step]));
      CHECK_FALSE(same_bits(task.values[(bad + 1) * step], task.values[(bad + 2) * step]));
      const Progress progress = progress_of(dir / "run/ckpt/last");
      CHECK(progress.update == 5);
      CHECK(progress.optimizer_steps == 4);
      CHECK(progress.skipped == 1);
      CHECK(events_of(dir / "run", "train").back().at("skipped").as_int() == 1);
      CHECK(weights_in(dir / "run/ckpt/last/model.safetensors").isfinite().all().item<bool>());
      for (const io::Json& event : events_of(dir / "run", "train")) CHECK(std::isfinite(event.at("loss").as_double()));
    }
  }
}

TEST_CASE("training that stays not finite gives up with the last good weights", "[trainer]") {
  const TempDir dir;
  FakeTask task;
  for (int64_t number = 3; number < 30; ++number) task.troubles[number] = Trouble::kNanLoss;
  TrainerOptions options = plain_options(100);
  options.max_skipped = 3;
  options.save_every = 2;
  options.validate_every = 1000;
  const Failure failure = failure_of([&] { train_in(dir / "run", task, options); });
  CHECK(failure.exit_code == kExitDiverged);
  CHECK(failure.says("4 updates in a row"));
  CHECK(failure.says("step-00000002"));  // none is saved while updates are skipped
  CHECK(task.values.size() == 7);
  CHECK(same_bits(weights_in(dir / "run/ckpt/last/model.safetensors"), task.values[2]));
  CHECK(io::RunDir(dir / "run").checkpoints().size() == 1);
}

TEST_CASE("only updates in a row count towards giving up", "[trainer]") {
  const TempDir dir;
  FakeTask task;
  for (const int64_t number : {1, 2, 4, 5, 7, 8}) task.troubles[number] = Trouble::kNanLoss;
  TrainerOptions options = plain_options(10);
  options.max_skipped = 2;
  train_in(dir / "run", task, options);
  CHECK(progress_of(dir / "run/ckpt/last").skipped == 6);
  options.max_skipped = 0;
  FakeTask second;
  second.troubles[0] = Trouble::kNanLoss;
  const Failure failure = failure_of([&] { train_in(dir / "second", second, options); });
  CHECK(failure.exit_code == kExitDiverged);
  CHECK(failure.says("there is no checkpoint yet"));
}

TEST_CASE("weights that are not finite are never saved", "[trainer]") {
  const TempDir dir;
  FakeTask first, second;
  TrainerOptions options = plain_options(2);
  options.validate_every = 1000;
  train_in(dir / "run", first, options);
  options.max_updates = 9;
  options.save_every = 1;
  options.schedule.rate = 1e39;  // beyond a float, though loss and gradient are as they should be
  const Failure failure = failure_of([&] { train_in(dir / "run", second, options); });
  CHECK(failure.exit_code == kExitDiverged);
  CHECK(failure.says("no longer finite after update 3"));
  CHECK(failure.says("step-00000002"));
  CHECK(same_bits(weights_in(dir / "run/ckpt/last/model.safetensors"), second.values[0]));
}

namespace {

/// A noisy training of batches in up to six parts, on so many threads.
at::Tensor trained_on(int count, const std::string& run, std::set<int64_t>& workers) {
  set_threads(count);
  FakeTask task({7, 3, 5, 2});
  task.part_count = 6;
  task.noisy = true;
  TrainerOptions options = plain_options(9);
  options.accumulate = 2;
  options.clip = 0.5;
  options.optimizer.epsilon = 0.05;
  train_in(run, task, options);
  set_threads(1);
  workers = task.busy;
  CHECK(std::set<uint64_t>(task.keys.begin(), task.keys.end()).size() == task.keys.size());  // each part draws for itself
  return task.flat();
}

}  // namespace

TEST_CASE("parts of a batch are worked on at the same time, with the same result", "[trainer]") {
  const TempDir dir;
  std::set<int64_t> workers;
  const at::Tensor one = trained_on(1, dir / "1", workers);
  CHECK(workers == std::set<int64_t>{0});
  for (const int count : {2, 3, 6}) {
    CAPTURE(count);
    const at::Tensor several = trained_on(count, dir / fmt::format("{}", count), workers);
    CHECK(static_cast<int>(workers.size()) == count);
    CHECK(difference(several, one) < 1e-5);
    CHECK(difference(several, FakeTask().flat()) > 0.05);
    CHECK(same_bits(several, trained_on(count, dir / fmt::format("{}-again", count), workers)));
    const std::vector<io::Json> events = events_of(dir / fmt::format("{}", count), "train"), expected = events_of(dir / "1", "train");
    REQUIRE(events.size() == expected.size());
    for (size_t i = 0; i < events.size(); ++i) {
      CHECK(events[i].at("loss").as_double() == Approx(expected[i].at("loss").as_double()));
      CHECK(events[i].at("gradient-norm").as_double() == Approx(expected[i].at("gradient-norm").as_double()));
    }
  }
}

TEST_CASE("what goes wrong in one part goes wrong for the update", "[trainer]") {
  const TempDir dir;
  set_threads(2);
  for (const Trouble trouble : {Trouble::kNanLoss, Trouble::kNanGradient}) {
    FakeTask task({4, 4, 4});
    task.part_count = 2;
    task.troubles[1] = trouble;
    train_in(dir / fmt::format("{}", static_cast<int>(trouble)), task, plain_options(5));
    const Progress progress = progress_of(dir / fmt::format("{}/ckpt/last", static_cast<int>(trouble)));
    CHECK((progress.skipped == 1 && progress.optimizer_steps == 4));
    CHECK(at::isfinite(task.flat()).all().item<bool>());
    CHECK(task.busy.size() == 2);
  }
  FakeTask killed({4, 4, 4});
  killed.part_count = 2;
  killed.troubles[2] = Trouble::kKilled;
  CHECK_THROWS_AS(train_in(dir / "killed", killed, plain_options(5)), std::runtime_error);
  set_threads(1);
}
