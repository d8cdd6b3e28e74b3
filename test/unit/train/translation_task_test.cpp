#include "train/translation_task.h"

#include "model/torch_translation.h"
#include "unit/model/models.h"
#include "unit/train/tasks.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;
using model::kBos;
using model::kEos;

namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

/// Text, a model and the tasks made of them.
struct Place {
  TempDir dir;
  model::Vocabularies vocabularies = model::shared_letters();
  std::unique_ptr<model::Seq2Seq> model = model::random_model(model::small({{"dropout", "0"}}), vocabularies.sizes());
  std::vector<std::string> sources = model::random_lines(30, 1), targets = model::random_lines(30, 2);
  std::vector<std::string> valid_sources = model::random_lines(7, 3), valid_targets = model::random_lines(7, 4);
  TranslationTaskOptions options;
  Ranks alone;
  CorpusScorer scorer = [](const auto&, const auto&) { return 0.0; };

  Place() {
    options.batch_tokens = 60;
    options.bucket_batches = 2;
    options.label_smoothing = 0;
    options.valid_search.beam = 2;
    options.valid_search.max_length = 12;
  }

  std::unique_ptr<Task> task(uint64_t seed = 1) {
    options.train_source = put(dir / "train.a", joined(sources));
    options.train_target = put(dir / "train.b", joined(targets));
    options.valid_source = put(dir / "valid.a", joined(valid_sources));
    options.valid_target = put(dir / "valid.b", joined(valid_targets));
    const auto copy = [this] { return model::build(model::small({{"dropout", "0"}}), vocabularies.sizes(), std::nullopt); };
    return make_translation_task(*model, copy, vocabularies, options, dir / "cache", 1, seed, scorer, alone);
  }

  /// -log p of a target, end symbol included, and its number of tokens.
  std::pair<double, int64_t> nll(const std::string& source, const std::string& target) const {
    const data::Tokens tokens = vocabularies.target->encode(target);
    const auto batch = model::batch_of({vocabularies.source->encode(source)}, {tokens});
    return {-model->target_logprobs(batch).sum().item<double>(), static_cast<int64_t>(tokens.size()) + 1};
  }
};

}  // namespace

TEST_CASE("an epoch is every pair once", "[translation-task]") {
  Place place;
  const auto task = place.task();
  double expected = 0;
  int64_t target_tokens = 0, source_tokens = 0;
  for (size_t i = 0; i < place.sources.size(); ++i) {
    const auto [nll, tokens] = place.nll(place.sources[i], place.targets[i]);
    expected += nll;
    target_tokens += tokens;
    source_tokens += static_cast<int64_t>(place.vocabularies.source->encode(place.sources[i]).size()) + 1;
  }
  for (const int64_t epoch : {0, 1, 2}) {
    CHECK(task->epoch() == epoch);
    CHECK(task->epoch_progress() == 0);
    double nll = 0, sum = 0, progress = -1;
    int64_t targets = 0, sources = 0;
    while (task->epoch() == epoch) {
      CHECK((task->epoch_progress() > progress && task->epoch_progress() < 1));
      progress = task->epoch_progress();
      const StepLoss loss = take(*task);
      CHECK((loss.tokens <= 60 && loss.source_tokens <= 60));
      nll += loss.nll_sum;
      sum += loss.sum.item<double>();
      targets += loss.tokens;
      sources += loss.source_tokens;
    }
    CHECK((targets == target_tokens && sources == source_tokens));
    CHECK(nll == Approx(expected).epsilon(1e-5));
    CHECK(sum == Approx(nll).epsilon(1e-5));  // without label smoothing
  }
}

TEST_CASE("parts of a batch are the batch, whichever worker has them", "[translation-task]") {
  Place place;
  const auto whole = place.task();
  CHECK(whole->parts() == 1);
  place.options.part_tokens = 24;  // 2.5 in a batch, rounded
  const auto cut = place.task();
  CHECK(cut->parts() == 3);
  place.model->parameters().flatten();
  const std::vector<nn::Parameters*> workers = cut->workers(2);
  REQUIRE(workers.size() == 2);
  CHECK(workers[0] == &place.model->parameters());
  CHECK(workers[1]->flat_values().data_ptr() == workers[0]->flat_values().data_ptr());
  size_t most = 0;
  for (int batch = 0; batch < 5; ++batch) {
    const std::vector<Part> parts = cut->next();
    most = std::max(most, parts.size());
    for (nn::Parameters* worker : workers) worker->flat_gradients().zero_();
    const StepLoss expected = take(*whole);
    expected.sum.backward();
    const at::Tensor gradients = workers[0]->flat_gradients().clone();
    workers[0]->flat_gradients().zero_();
    StepLoss sum;
    for (size_t i = 0; i < parts.size(); ++i) {
      tensor::DropoutStream dropout(1, 1);
      const StepLoss loss = parts[i](static_cast<int64_t>(i % 2), dropout);
      loss.sum.backward();
      sum.nll_sum += loss.nll_sum;
      sum.tokens += loss.tokens;
      sum.source_tokens += loss.source_tokens;
    }
    CHECK((sum.tokens == expected.tokens && sum.source_tokens == expected.source_tokens));
    CHECK(sum.nll_sum == Approx(expected.nll_sum).epsilon(1e-5));
    CHECK(difference(workers[0]->flat_gradients() + workers[1]->flat_gradients(), gradients) < 1e-3);
    CHECK((workers[1]->flat_gradients().abs().max().item<double>() > 0) == (parts.size() > 1));
  }
  CHECK(most == 3);
}

TEST_CASE("the loss has a gradient and is smoothed as asked for", "[translation-task]") {
  Place place;
  place.options.label_smoothing = 0.2;
  const StepLoss loss = take(*place.task());
  CHECK(loss.sum.item<double>() != Approx(loss.nll_sum));
  loss.sum.backward();
  for (const nn::Parameter& parameter : place.model->parameters().all()) CHECK(parameter.value.grad().defined());
}

TEST_CASE("seed and epoch decide the order of the batches", "[translation-task]") {
  Place place;
  const auto first = place.task(), second = place.task(), other = place.task(2);
  const int count = batches_of_epoch(*place.task());
  REQUIRE(count > 5);
  const std::vector<double> losses = next_losses(*first, count);
  CHECK(losses == next_losses(*second, count));
  CHECK(losses != next_losses(*other, count));
  CHECK(losses != next_losses(*first, count));
}

TEST_CASE("a cursor gives the same next batches", "[translation-task]") {
  Place place;
  const auto reference = place.task();
  const int count = batches_of_epoch(*place.task());
  for (const int taken : {0, 3, count - 1, count, count + 2}) {
    CAPTURE(taken);
    const auto first = place.task(), second = place.task();
    next_losses(*first, taken);
    const io::Json cursor = io::parse_json(first->cursor().dump(), "cursor");
    second->set_cursor(cursor);
    CHECK(second->epoch() == first->epoch());
    CHECK(second->epoch_progress() == first->epoch_progress());
    CHECK(next_losses(*second, count + 3) == next_losses(*first, count + 3));
  }
}

TEST_CASE("a cursor of another corpus is refused", "[translation-task]") {
  Place place;
  const io::Json cursor = place.task()->cursor();
  place.sources.pop_back();
  place.targets.pop_back();
  const auto task = place.task();
  const Failure failure = failure_of([&] { task->set_cursor(cursor); });
  CHECK(failure.exit_code == kExitFailure);
  CHECK(failure.says("made with 30 training pairs, now there are 29"));
}

TEST_CASE("a cursor of another order starts its epoch anew", "[translation-task]") {
  Place place;
  const auto first = place.task();
  const int count = batches_of_epoch(*first);
  next_losses(*first, 2);
  const io::Json cursor = first->cursor();
  const auto check = [&](uint64_t seed, bool anew) {
    const auto task = place.task(seed);
    task->set_cursor(cursor);
    CHECK(task->epoch() == 1);
    CHECK((task->epoch_progress() == 0) == anew);
    const auto fresh = place.task(seed);
    batches_of_epoch(*fresh);
    if (!anew) next_losses(*fresh, 2);
    CHECK(next_losses(*task, count) == next_losses(*fresh, count));
  };
  check(1, false);
  check(2, true);
  place.options.bucket_batches = 1;
  check(1, true);
  place.options.bucket_batches = 2;
  place.targets[3] = "abcdefgh abcdefgh";
  check(1, true);
}

TEST_CASE("a cursor beyond the end of a coarser plan starts the epoch anew", "[translation-task]") {
  Place place;
  const auto fine = place.task();
  REQUIRE(batches_of_epoch(*fine) > 2);
  next_losses(*fine, 2);
  place.options.batch_tokens = 100000;
  const auto coarse = place.task();
  coarse->set_cursor(fine->cursor());
  CHECK(coarse->epoch() == 1);
  CHECK(coarse->epoch_progress() == 0);
  take(*coarse);
  CHECK(coarse->epoch() == 2);
}

TEST_CASE("a validation is the mean over all tokens, in whatever batches", "[translation-task]") {
  Place place;
  place.options.label_smoothing = 0.3;  // which validation ignores
  place.valid_targets[2] = "";          // left out: there is nothing to predict from nothing
  place.options.max_length = 3;         // a limit for training only
  double nll = 0;
  int64_t tokens = 0;
  for (size_t i = 0; i < place.valid_sources.size(); ++i) {
    if (i == 2) continue;
    const auto [own, length] = place.nll(place.valid_sources[i], place.valid_targets[i]);
    nll += own;
    tokens += length;
  }
  for (const int64_t batch_tokens : {1, 60, 100000}) {
    place.options.batch_tokens = batch_tokens;
    const Scores scores = place.task()->validate(place.alone);
    REQUIRE(scores.size() == 2);
    CHECK((scores[0].first == "loss" && scores[1].first == "ppl"));
    CHECK(scores[0].second == Approx(nll / static_cast<double>(tokens)).epsilon(1e-5));
    CHECK(scores[1].second == Approx(std::exp(scores[0].second)));
  }
}

TEST_CASE("a validation neither moves the data nor leaves gradients", "[translation-task]") {
  Place place;
  const auto task = place.task(), undisturbed = place.task();
  next_losses(*task, 2);
  next_losses(*undisturbed, 2);
  task->validate(place.alone);
  for (const nn::Parameter& parameter : place.model->parameters().all()) CHECK_FALSE(parameter.value.grad().defined());
  CHECK(next_losses(*task, 9) == next_losses(*undisturbed, 9));
}

TEST_CASE("the scorer gets translations and references of all lines", "[translation-task]") {
  Place place;
  place.options.valid_bleu = true;
  place.valid_sources[1] = "";
  place.valid_targets[4] = "";
  std::vector<std::string> hypotheses, references;
  place.scorer = [&](const std::vector<std::string>& h, const std::vector<std::string>& r) {
    hypotheses = h;
    references = r;
    return 12.5;
  };
  const Scores scores = place.task()->validate(place.alone);
  REQUIRE(scores.size() == 3);
  CHECK((scores[2].first == "bleu" && scores[2].second == 12.5));
  CHECK(references == place.valid_targets);
  const model::TorchTranslation view(*place.model);
  infer::Translator translator({&view}, place.vocabularies, place.options.valid_search, {}, 1, 1);
  const auto expected = translator.translate(place.valid_sources);
  REQUIRE(hypotheses.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) CHECK(hypotheses[i] == (expected[i].empty() ? "" : expected[i][0].text));
  CHECK(hypotheses[1].empty());
}

TEST_CASE("training leaves out what its limits say", "[translation-task]") {
  Place place;
  const auto pairs = [&] { return place.task()->cursor().at("pairs").as_int(); };
  CHECK(pairs() == 30);
  place.sources[3] = " ";
  place.targets[5] = "";
  CHECK(pairs() == 28);
  place.targets[7] = std::string(200, 'a');
  place.options.max_length = 100;
  CHECK(pairs() == 27);
  place.sources[9] = "ab";
  place.targets[9] = std::string(40, 'b');
  place.options.max_ratio = 10;
  CHECK(pairs() == 26);
}

TEST_CASE("text that cannot be read twice or has no positions is a usage error", "[translation-task]") {
  Place place;
  place.task();
  for (std::string* file : {&place.options.train_source, &place.options.train_target, &place.options.valid_source,
                            &place.options.valid_target}) {
    const std::string kept = *file;
    *file = "-";
    const auto make = [&] {
      make_translation_task(*place.model, nullptr, place.vocabularies, place.options, place.dir / "cache", 1, 1, place.scorer, place.alone);
    };
    CHECK(failure_of(make).exit_code == kExitUsage);
    *file = kept;
  }
  const model::Settings learned = model::small({{"positions", "learned"}, {"max-positions", "12"}});
  place.model = model::random_model(learned, place.vocabularies.sizes());
  place.options.max_length = 12;
  const Failure failure = failure_of([&] { place.task(); });
  CHECK(failure.exit_code == kExitUsage);
  CHECK(failure.says("--max-length 12"));
  CHECK(failure.says("model.max-positions"));
  place.options.max_length = 11;
  for (std::string& line : place.valid_targets) line = "abc";
  place.valid_sources[0] = std::string(11, 'a');  // and a space before them: left out of the validation
  const auto task = place.task();
  const int count = batches_of_epoch(*task);
  CHECK(count > 0);
  CHECK(std::isfinite(task->validate(place.alone)[0].second));
}
