#include "train/lm_task.h"

#include <cmath>

#include "bigram_lm.h"
#include "io/run_dir.h"
#include "support/letter_template.h"
#include "tensor/runtime.h"
#include "train/trainer.h"
#include "unit/model/models.h"
#include "unit/train/tasks.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

const std::string kText = "the cat sat on the mat\nand the dog sat on the log\n\nthe end\n";

struct Place {
  Place() {
    options.train = {put(dir / "train", kText + kText)};
    options.valid = {put(dir / "valid", "the dog sat on the mat\nthe end\n")};
    options.window = 8;
    options.batch_tokens = 32;
  }

  std::unique_ptr<Task> task(uint64_t seed = 1) {
    const auto copy = [] { return std::make_unique<BigramLm>(258, std::nullopt); };
    return make_lm_task(*model, copy, tokenizer, options.format == "chat" ? &frame : nullptr, options, dir / "cache", seed, false, alone);
  }

  void use_conversations() {
    options.format = "chat";
    std::string records;
    for (const char* animal : {"cat", "dog", "hen", "ant", "bee", "cow", "elk", "fox", "gnu"}) {
      records += fmt::format("{{\"prompt\":\"say {0}\",\"response\":\"{0}!\"}}\n", animal);
    }
    options.train = {put(dir / "train.jsonl", records)};
    options.valid = {put(dir / "valid.jsonl", R"({"prompt":"say owl","response":"owl!"})" "\n" R"({"prompt":"hello","response":"yes"})" "\n")};
    options.window = 20;
  }

  /// -log p of tokens first .. end - 1, each after the one before it.
  double nll(const std::vector<int32_t>& ids, size_t first = 1) const {
    const data::PackedTokens input = data::pack({ids}, -1, -1);
    const at::Tensor targets = input.tokens.narrow(0, 1, static_cast<int64_t>(ids.size()) - 1);
    const at::Tensor rows = at::arange(static_cast<int64_t>(first) - 1, static_cast<int64_t>(ids.size()) - 1, at::kLong);
    return -model->target_logprobs(input, rows, targets.index_select(0, rows)).sum().item<double>();
  }

  TempDir dir;
  std::unique_ptr<BigramLm> model = std::make_unique<BigramLm>(258);
  ByteTokenizer tokenizer;
  LetterTemplate frame;
  LmTaskOptions options;
  Ranks alone;
};

TrainerOptions trainer_options(int64_t updates) {
  TrainerOptions options;
  options.max_updates = updates;
  options.schedule.kind = "constant";
  options.schedule.warmup = 0;
  options.schedule.rate = 0.05;
  options.save_every = 5;
  options.validate_every = updates;
  return options;
}

void train_in(const std::string& path, Place& place, const TrainerOptions& options) {
  place.model = std::make_unique<BigramLm>(258);
  const auto task = place.task();
  io::RunDir run(path);
  train::train(*task, run, options, 1, false, place.alone);
}

}  // namespace

TEST_CASE("an epoch of text is every window once", "[lm-task]") {
  Place place;
  const auto task = place.task();
  const std::vector<int32_t> ids = byte_ids("^" + kText + kText + "$");
  for (const int64_t epoch : {0, 1, 2}) {
    double nll = 0, progress = -1;
    int64_t tokens = 0;
    while (task->epoch() == epoch) {
      CHECK((task->epoch_progress() > progress && task->epoch_progress() < 1));
      progress = task->epoch_progress();
      const StepLoss loss = take(*task);
      CHECK((loss.tokens <= 32 && loss.source_tokens == loss.tokens));
      CHECK(loss.sum.item<double>() == Approx(loss.nll_sum).epsilon(1e-5));
      nll += loss.nll_sum;
      tokens += loss.tokens;
    }
    const auto offset = static_cast<int64_t>(ids.size()) - 1 - tokens;
    CHECK((offset >= 0 && offset < 8));
    CHECK(nll == Approx(place.nll(std::vector<int32_t>(ids.begin() + offset, ids.end()))).epsilon(1e-5));
  }
}

TEST_CASE("an epoch of conversations is every answer once", "[lm-task]") {
  Place place;
  place.use_conversations();
  const auto task = place.task();
  double expected = 0;
  for (const char* animal : {"cat", "dog", "hen", "ant", "bee", "cow", "elk", "fox", "gnu"}) {
    expected += place.nll(byte_ids(fmt::format("^[say {0}]<{0}!>", animal)), 11);
  }
  double nll = 0;
  int64_t tokens = 0, inputs = 0;
  while (task->epoch() == 0) {
    const StepLoss loss = take(*task);
    CHECK(loss.source_tokens <= 32);
    nll += loss.nll_sum;
    tokens += loss.tokens;
    inputs += loss.source_tokens;
  }
  CHECK((tokens == 9 * 5 && inputs == 9 * 15));
  CHECK(nll == Approx(expected).epsilon(1e-5));
}

TEST_CASE("what is not learned gives no gradient", "[lm-task]") {
  Place place;
  place.use_conversations();
  const auto task = place.task();
  place.model->parameters().flatten();
  take(*task).sum.backward();
  const at::Tensor gradient = place.model->parameters().all()[0].value.grad();
  const auto moved = [&](char c) { return gradient[byte_ids(std::string(1, c))[0]].abs().max().item<double>() > 0; };
  // What comes before tokens of an answer has a gradient; 's', 'y' and ' ' stand in prompts only, and '>' is predicted only.
  CHECK((moved('<') && moved('!')));
  CHECK_FALSE((moved('s') || moved('[') || moved(']') || moved('>') || moved(' ') || gradient[0].abs().max().item<double>() > 0));
}

TEST_CASE("parts of a language model's batch are the batch", "[lm-task]") {
  Place place;
  for (const bool conversations : {false, true}) {
    if (conversations) place.use_conversations();
    place.model = std::make_unique<BigramLm>(258);
    place.options.part_tokens = 2048;
    const auto whole = place.task();
    place.options.part_tokens = 12;
    const auto cut = place.task();
    CHECK((whole->parts() == 1 && cut->parts() == 3));
    place.model->parameters().flatten();
    const std::vector<nn::Parameters*> workers = cut->workers(2);
    REQUIRE(workers.size() == 2);
    size_t most = 0;
    for (int batch = 0; batch < 5; ++batch) {
      for (nn::Parameters* worker : workers) worker->flat_gradients().zero_();
      take(*whole).sum.backward();
      const at::Tensor gradients = workers[0]->flat_gradients().clone();
      workers[0]->flat_gradients().zero_();
      const std::vector<Part> parts = cut->next();
      most = std::max(most, parts.size());
      for (size_t i = 0; i < parts.size(); ++i) {
        tensor::DropoutStream dropout(1, 1);
        parts[i](static_cast<int64_t>(i % 2), dropout).sum.backward();
      }
      CHECK(difference(workers[0]->flat_gradients() + workers[1]->flat_gradients(), gradients) < 1e-4);
      CHECK((workers[1]->flat_gradients().abs().max().item<double>() > 0) == (parts.size() > 1));
    }
    CHECK(most >= 2);
  }
}

TEST_CASE("a validation of text is its perplexity in all units", "[lm-task]") {
  Place place;
  place.options.label_smoothing = 0.3;  // which validation ignores
  const std::string text = "the dog sat on the mat\nthe end\n";
  const double nll = place.nll(byte_ids("^" + text + "$"));
  for (const int64_t batch_tokens : {1, 20, 100000}) {
    place.options.batch_tokens = batch_tokens;
    const Scores scores = place.task()->validate(place.alone);
    REQUIRE(scores.size() == 4);
    CHECK((scores[0].first == "loss" && scores[1].first == "ppl" && scores[2].first == "word-ppl" && scores[3].first == "bits-per-byte"));
    const double loss = nll / static_cast<double>(text.size() + 1);
    CHECK(scores[0].second == Approx(loss).epsilon(1e-5));
    CHECK(scores[1].second == Approx(std::exp(loss)).epsilon(1e-5));
    CHECK(scores[2].second == Approx(std::exp(nll / 10)).epsilon(1e-4));  // eight words, two line ends
    CHECK(scores[3].second == Approx(nll / std::log(2.0) / static_cast<double>(text.size())).epsilon(1e-5));
  }
}

TEST_CASE("a validation of conversations is over what is learned", "[lm-task]") {
  Place place;
  place.use_conversations();
  const double nll = place.nll(byte_ids("^[say owl]<owl!>"), 11) + place.nll(byte_ids("^[hello]<yes>"), 9);
  const auto task = place.task(), undisturbed = place.task();
  const Scores scores = task->validate(place.alone);
  REQUIRE(scores.size() == 2);
  CHECK((scores[0].first == "loss" && scores[1].first == "ppl"));
  CHECK(scores[0].second == Approx(nll / 9).epsilon(1e-5));
  CHECK(scores[1].second == Approx(std::exp(nll / 9)).epsilon(1e-5));
  for (const nn::Parameter& parameter : place.model->parameters().all()) CHECK_FALSE(parameter.value.grad().defined());
  CHECK(next_losses(*task, 9) == next_losses(*undisturbed, 9));
}

TEST_CASE("documents of JSON lines can be trained on too", "[lm-task]") {
  Place place;
  place.options.format = "jsonl";
  place.options.text_field = "body";
  place.options.train = {put(place.dir / "train.jsonl", R"({"body":"one"})" "\n" R"({"body":"two"})" "\n")};
  place.options.valid = place.options.train;
  const auto task = place.task();
  CHECK(task->cursor().at("tokens").as_int() == 10);
  CHECK(task->validate(place.alone)[0].second == Approx(place.nll(byte_ids("^one$^two$")) / 9).epsilon(1e-5));
}

TEST_CASE("ranks take batches of their own", "[lm-task]") {
  Place place;
  for (const bool conversations : {false, true}) {
    if (conversations) place.use_conversations();
    const auto whole = place.task(), even = place.task(), odd = place.task();
    std::vector<double> expected = next_losses(*whole, 24), taken;
    odd->skip(1);
    for (int i = 0; i < 12; ++i) {
      taken.push_back(take(*even).nll_sum);
      even->skip(1);
      taken.push_back(take(*odd).nll_sum);
      odd->skip(1);
    }
    CHECK(taken == expected);
  }
}

TEST_CASE("a cursor gives the same next batches of a language model", "[lm-task]") {
  Place place;
  for (const bool conversations : {false, true}) {
    if (conversations) place.use_conversations();
    const int count = batches_of_epoch(*place.task());
    REQUIRE(count > 3);
    for (const int taken : {0, 3, count - 1, count, count + 2}) {
      CAPTURE(conversations, taken);
      const auto first = place.task(), second = place.task();
      next_losses(*first, taken);
      second->set_cursor(io::parse_json(first->cursor().dump(), "cursor"));
      CHECK((second->epoch() == first->epoch() && second->epoch_progress() == first->epoch_progress()));
      CHECK(next_losses(*second, count + 3) == next_losses(*first, count + 3));
    }
    CHECK(next_losses(*place.task(1), count) != next_losses(*place.task(2), count));
  }
}

TEST_CASE("a cursor of another text or order", "[lm-task]") {
  Place place;
  const auto first = place.task();
  next_losses(*first, 2);
  const io::Json cursor = first->cursor();
  place.options.window = 7;
  auto task = place.task();
  task->set_cursor(cursor);
  CHECK(task->epoch_progress() == 0);
  place.options.window = 8;
  place.options.train.push_back(place.options.valid[0]);
  task = place.task();
  const Failure failure = failure_of([&] { task->set_cursor(cursor); });
  CHECK((failure.exit_code == kExitFailure && failure.says("made with 120 training tokens, now there are 152")));
  place.use_conversations();
  task = place.task();
  CHECK(failure_of([&] { task->set_cursor(cursor); }).says("conversations"));
}

TEST_CASE("the loss of a language model falls, and resuming makes no difference", "[lm-task]") {
  Place place;
  for (const bool conversations : {false, true}) {
    if (conversations) place.use_conversations();
    const double before = place.task()->validate(place.alone)[0].second;
    train_in(place.dir / "whole", place, trainer_options(40));
    const double after = place.task()->validate(place.alone)[0].second;
    CHECK(after < 0.8 * before);
    train_in(place.dir / "halves", place, trainer_options(17));
    train_in(place.dir / "halves", place, trainer_options(40));
    for (const char* file : {"model.safetensors", "optim.safetensors"}) {
      CHECK((get(place.dir / "whole/ckpt/last/" + file) == get(place.dir / "halves/ckpt/last/" + file)));
    }
    std::filesystem::remove_all(place.dir / "whole");
    std::filesystem::remove_all(place.dir / "halves");
  }
}

TEST_CASE("windows beyond the positions of a model, and text that can be read only once", "[lm-task]") {
  Place place;
  place.options.window = 33;
  Failure failure = failure_of([&] { place.task(); });
  CHECK((failure.exit_code == kExitUsage && failure.says("--window 33") && failure.says("32 positions")));
  place.options.window = 0;  // all 32
  CHECK(place.task()->cursor().at("order").as_string().find("window 32,") != std::string::npos);
  place.model = std::make_unique<BigramLm>(258, 1, 4000);
  CHECK(place.task()->cursor().at("order").as_string().find("window 512,") != std::string::npos);
  for (std::vector<std::string>* files : {&place.options.train, &place.options.valid}) {
    files->push_back("-");
    CHECK(failure_of([&] { place.task(); }).exit_code == kExitUsage);
    files->pop_back();
  }
}
