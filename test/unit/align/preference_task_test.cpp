#include "align/preference_task.h"

#include <sys/stat.h>

#include "base/threads.h"
#include "losses.h"
#include "model/lm_load.h"
#include "support/lm_directory.h"
#include "unit/model/models.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;

namespace {

/// A model directory, pairs, and tasks of them.
struct Place {
  explicit Place(const std::string& loss_name = "dpo", const std::map<std::string, std::string>& settings = {}) : loss(make_loss(loss_name, settings)) {
    put_lm_directory(dir / "lm", make_tiny(1));
    take_model("lm");
    options.data.train = {put(dir / "train.jsonl", records({"cat", "dog", "hen", "ant", "bee", "cow", "elk", "fox", "gnu"}))};
    options.data.valid = {put(dir / "valid.jsonl", records({"owl", "pig", "rat"}))};
    options.batches.batch_tokens = 120;
    options.batches.part_tokens = 120;
  }

  static TinyLlama make_tiny(uint64_t seed) {
    infer::LlamaOptions shape;
    shape.dim = 16;
    shape.ffn = 20;
    shape.layers = 2;
    shape.heads = 2;
    shape.kv_heads = 1;
    shape.max_positions = 64;
    shape.vocabulary = 290;
    return TinyLlama(shape, 290, seed);
  }

  static std::string records(const std::vector<std::string>& animals) {
    std::string lines;
    for (const std::string& animal : animals) {
      lines += fmt::format(R"({{"prompt":"say {0} twice","chosen":"{0} {0}","rejected":"what is a {0}?"}})"
                           "\n",
                           animal);
    }
    return lines;
  }

  void take_model(const std::string& name) {
    loaded = model::load_lm(dir / name);
    for (const nn::Parameter& parameter : loaded.model->parameters().all()) parameter.value.set_requires_grad(true);
    frame = text::make_chat_template("plain", *loaded.tokenizer);
  }

  /// Of a run that begins with `source`, or did so.
  std::unique_ptr<train::Task> task(bool resumes = false) {
    const auto copy = [this] { return model::build_lm(loaded.config, loaded.tokenizer->size()); };
    const ReferenceModel reference{dir / source, configuration, resumes, [this] { return model::load_lm(dir / source).model; }};
    return make_preference_task({*loaded.model, copy, *loaded.tokenizer, *frame, *loss, reference, dir.path(), 1, false}, options, alone);
  }

  /// The task of a run that began with one model and has come to another.
  std::unique_ptr<train::Task> task_from_to(const std::string& begin, const std::string& end) {
    source = begin;
    take_model(begin);
    task();
    take_model(end);
    return task(true);
  }

  data::PromptTree tree(const std::string& animal) const {
    const auto encode = [this](const std::string& text) { return loaded.tokenizer->encode(text); };
    data::PromptTree tree{frame->prompt({{"user", "say " + animal + " twice"}}), {encode(animal + " " + animal), encode("what is a " + animal + "?")}};
    for (data::Tokens& ending : tree.endings) ending.push_back(loaded.tokenizer->eos());
    return tree;
  }

  TempDir dir;
  std::unique_ptr<PreferenceLoss> loss;
  model::LoadedLm loaded;
  std::unique_ptr<text::ChatTemplate> frame;
  PreferenceTaskOptions options;
  std::string source = "lm", configuration = "model:\n  type: llama\n";
  train::Ranks alone;
};

double score(const train::Scores& scores, const std::string& name) {
  for (const auto& [known, value] : scores) {
    if (known == name) return value;
  }
  return NAN;
}

/// log p of an answer by the definition, in double precision.
double logprob(const TinyLlama& tiny, const data::Tokens& prompt, const data::Tokens& answer) {
  data::Tokens all = prompt;
  all.insert(all.end(), answer.begin(), answer.end());
  const auto rows = tiny.logprobs(all);
  double sum = 0;
  for (size_t i = 0; i < answer.size(); ++i) sum += rows[prompt.size() + i - 1][static_cast<size_t>(answer[i])];
  return sum;
}

/// The sum over an epoch of losses and measures, and the gradient of that.
struct Epoch {
  double loss = 0;
  int64_t pairs = 0;
  std::vector<double> measures;
  at::Tensor gradient;
};

Epoch epoch_of(train::Task& task) {
  Epoch epoch;
  if (!task.parameters().flat_values().defined()) task.parameters().flatten();
  task.parameters().flat_gradients().zero_();
  const int64_t number = task.epoch();
  while (task.epoch() == number) {
    for (const train::Part& part : task.next()) {
      tensor::DropoutStream dropout(1, 1);
      const train::StepLoss loss = part(0, dropout);
      loss.sum.backward();
      epoch.loss += loss.sum.item<double>();
      epoch.pairs += loss.tokens;
      epoch.measures.resize(loss.measures.size());
      for (size_t i = 0; i < loss.measures.size(); ++i) epoch.measures[i] += loss.measures[i];
    }
  }
  epoch.gradient = task.parameters().flat_gradients().clone();
  return epoch;
}

ino_t inode(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

TEST_CASE("log-probabilities of endings are those of the definition, whether prompts are shared or not", "[preference-task]") {
  const Place place;
  const TinyLlama tiny = Place::make_tiny(1);
  const data::PromptTree first = place.tree("cat"), second{first.endings[0], {first.prompt, {7}, first.endings[1]}};
  for (const bool share : {true, false}) {
    at::NoGradGuard no_grad;
    const data::TreeBatch batch = data::make_tree_batch({&first, &second}, data::LastTokens::kPredicted, share ? data::Prompts::kShared : data::Prompts::kCopied);
    const at::Tensor found = ending_logprobs(*place.loaded.model, batch, nullptr);
    REQUIRE(found.sizes() == at::IntArrayRef({5}));
    int64_t row = 0;
    for (const data::PromptTree* tree : {&first, &second}) {
      for (const data::Tokens& ending : tree->endings) CHECK(found[row++].item<double>() == Approx(logprob(tiny, tree->prompt, ending)).epsilon(1e-5));
    }
  }
}

TEST_CASE("the gradients of endings by finite differences", "[preference-task]") {
  Place place;
  const data::PromptTree tree = place.tree("cat");
  const at::Tensor weights = doubles({0.7, -0.4});
  const auto value = [&] {
    return (ending_logprobs(*place.loaded.model, data::make_tree_batch({&tree}, data::LastTokens::kPredicted), nullptr) * weights).sum();
  };
  value().backward();
  size_t checked = 0;
  for (const nn::Parameter& parameter : place.loaded.model->parameters().all()) {
    CAPTURE(parameter.name);
    check_gradient(parameter.value, [&] { return value().item<double>(); }, 1e-2);
    ++checked;
  }
  CHECK(checked > 10);
}

TEST_CASE("before training the policy is its reference", "[preference-task]") {
  Place place;
  const auto task = place.task();
  CHECK(task->unit() == "pairs");
  const train::Scores scores = task->validate(place.alone);
  CHECK(scores[0].first == "loss");
  CHECK(score(scores, "loss") == Approx(std::log(2)));
  for (const char* name : {"accuracy", "margin", "chosen-reward", "rejected-reward", "kl"}) CHECK(score(scores, name) == Approx(0).margin(1e-5));
  const TinyLlama tiny = Place::make_tiny(1);
  double chosen = 0, rejected = 0, tokens = 0;
  for (const char* animal : {"owl", "pig", "rat"}) {
    const data::PromptTree tree = place.tree(animal);
    chosen += logprob(tiny, tree.prompt, tree.endings[0]) / 3;
    rejected += logprob(tiny, tree.prompt, tree.endings[1]) / 3;
    tokens += static_cast<double>(tree.endings[1].size()) / 3;
  }
  CHECK(score(scores, "chosen-logprob") == Approx(chosen).epsilon(1e-5));
  CHECK(score(scores, "rejected-logprob") == Approx(rejected).epsilon(1e-5));
  CHECK(score(scores, "rejected-tokens") == Approx(tokens));
}

TEST_CASE("measures compare the model with what it began as", "[preference-task]") {
  Place place("dpo", {{"beta", "0.5"}});
  put_lm_directory(place.dir / "other", Place::make_tiny(2));
  const train::Scores scores = place.task_from_to("other", "lm")->validate(place.alone);
  const TinyLlama policy = Place::make_tiny(1), reference = Place::make_tiny(2);
  double loss = 0, accuracy = 0, margin = 0, kl = 0;
  for (const char* animal : {"owl", "pig", "rat"}) {
    const data::PromptTree tree = place.tree(animal);
    const auto ratio = [&](size_t k) { return logprob(policy, tree.prompt, tree.endings[k]) - logprob(reference, tree.prompt, tree.endings[k]); };
    const double own = 0.5 * (ratio(0) - ratio(1));
    loss += std::log1p(std::exp(-own)) / 3;
    accuracy += own > 0 ? 1.0 / 3 : 0;
    margin += own / 3;
    kl += (ratio(0) + ratio(1)) / 2 / 3;
  }
  CHECK(score(scores, "loss") == Approx(loss).epsilon(1e-4));
  CHECK(score(scores, "accuracy") == Approx(accuracy));
  CHECK(score(scores, "margin") == Approx(margin).epsilon(1e-3).margin(1e-3));
  CHECK(score(scores, "kl") == Approx(kl).epsilon(1e-3).margin(1e-3));
}

TEST_CASE("parts, and prompts that are not shared, give the same loss and gradients", "[preference-task]") {
  for (const std::string& name : loss_names()) {
    CAPTURE(name);
    Place whole(name), cut(name), copied(name);
    cut.options.batches.part_tokens = 40;
    copied.options.batches.share_prompts = false;
    const auto first = whole.task(), second = cut.task(), third = copied.task();
    CHECK((first->parts() == 1 && second->parts() == 3));
    const Epoch a = epoch_of(*first), b = epoch_of(*second), c = epoch_of(*third);
    CHECK((a.pairs == 9 && b.pairs == 9 && a.measures.size() == first->measures().size()));
    for (const Epoch* other : {&b, &c}) {
      CHECK(other->loss == Approx(a.loss).epsilon(1e-5));
      CHECK(relative(other->gradient, a.gradient) < 1e-4);
      const std::vector<std::string> names = first->measures();
      for (size_t i = 0; i < a.measures.size(); ++i) {
        CAPTURE(names[i]);
        // The model is its own reference: whether a margin of nothing but rounding is above 0 is nobody's to say.
        if (names[i] != "accuracy") CHECK(other->measures[i] == Approx(a.measures[i]).epsilon(1e-4).margin(1e-4));
      }
    }
  }
}

TEST_CASE("the reference point of KTO is that of a whole batch, in training and in validation", "[preference-task]") {
  const std::vector<std::string> trained{"cat", "dog", "hen", "ant", "bee", "cow", "elk", "fox", "gnu"}, validated{"owl", "pig", "rat"};
  const TinyLlama tiny[] = {Place::make_tiny(1), Place::make_tiny(2)};
  std::vector<double> points;
  for (const bool turned : {false, true}) {
    // Where it is below 0 one way it is above the other.
    const TinyLlama &policy = tiny[turned ? 1 : 0], &reference = tiny[turned ? 0 : 1];
    double largest_point = 0;
    Epoch whole;
    for (const int64_t part_tokens : {1000, 100}) {
      CAPTURE(turned, part_tokens);
      Place place("kto", {{"beta", "0.5"}, {"lambda-u", "2"}});
      put_lm_directory(place.dir / "other", Place::make_tiny(2));
      place.options.batches.batch_tokens = 1000;
      place.options.batches.part_tokens = part_tokens;
      const auto loss_of = [&](const std::vector<std::string>& animals) {
        const auto ratio = [&](const data::Tokens& prompt, const data::Tokens& answer) { return logprob(policy, prompt, answer) - logprob(reference, prompt, answer); };
        const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
        double point = 0, sum = 0;
        const auto count = static_cast<double>(animals.size());
        for (size_t i = 0; i < animals.size(); ++i) point += ratio(place.tree(animals[i]).prompt, place.tree(animals[(i + 1) % animals.size()]).endings[0]) / count;
        point = std::max(0.0, point);
        largest_point = std::max(largest_point, point);
        for (const std::string& animal : animals) {
          const data::PromptTree tree = place.tree(animal);
          sum += (1 - sigmoid(0.5 * (ratio(tree.prompt, tree.endings[0]) - point)) + 2 * (1 - sigmoid(0.5 * (point - ratio(tree.prompt, tree.endings[1]))))) / 2;
        }
        return sum;
      };
      const auto task = place.task_from_to(turned ? "lm" : "other", turned ? "other" : "lm");
      CHECK(task->parts() == (part_tokens == 1000 ? 1 : 10));
      CHECK(score(task->validate(place.alone), "loss") == Approx(loss_of(validated) / 3).epsilon(1e-4));
      const Epoch epoch = epoch_of(*task);
      CHECK(epoch.pairs == 9);
      CHECK(epoch.loss == Approx(loss_of(trained)).epsilon(1e-4));
      if (part_tokens == 1000) whole = epoch;
      else CHECK(relative(epoch.gradient, whole.gradient) < 1e-4);
    }
    points.push_back(largest_point);
  }
  CHECK(std::max(points[0], points[1]) > 1e-3);
}

TEST_CASE("a step against the gradient costs less, by every loss", "[preference-task]") {
  for (const std::string& name : loss_names()) {
    CAPTURE(name);
    Place place(name);
    const auto task = place.task();
    const Epoch before = epoch_of(*task);
    task->parameters().flat_values().sub_(before.gradient * (0.05 / before.gradient.norm().item<double>()));
    const Epoch after = epoch_of(*task);
    CHECK(after.loss < before.loss);
    CHECK(after.measures[1] > before.measures[1]);
  }
}

TEST_CASE("which losses ask the reference", "[preference-task]") {
  Place place("simpo");
  CHECK(place.task()->measures().back() == "rejected-tokens");
  CHECK_FALSE(std::filesystem::exists(place.dir / "cache"));
  place.options.measure_kl = true;
  const auto task = place.task();
  CHECK(task->measures().back() == "kl");
  CHECK(score(task->validate(place.alone), "kl") == Approx(0).margin(1e-5));
}

TEST_CASE("reference log-probabilities are kept while they are right", "[preference-task]") {
  Place place;
  const std::string cache = place.dir / "cache/reference.safetensors";
  const double before = score(place.task()->validate(place.alone), "kl");
  const ino_t first = inode(cache);
  REQUIRE(first != 0);
  place.task();
  CHECK(inode(cache) == first);
  SECTION("a damaged file is made again") {
    const std::string whole = get(cache);
    for (const std::string& broken : {whole.substr(0, whole.size() / 2), std::string("x"), whole.substr(0, whole.size() - 1) + "x"}) {
      put(cache, broken);
      CHECK(score(place.task()->validate(place.alone), "kl") == Approx(before).margin(1e-9));
      CHECK(get(cache) == whole);
    }
  }
  SECTION("a new run with another model asks that") {
    put_lm_directory(place.dir / "other", Place::make_tiny(2));
    place.source = "other";
    place.take_model("other");
    CHECK(score(place.task()->validate(place.alone), "kl") == Approx(0).margin(1e-5));
    CHECK(inode(cache) != first);
  }
  SECTION("a new run with other options of the model asks again") {
    place.configuration += "  rope-theta: 7\n";
    place.task();
    CHECK(inode(cache) != first);
  }
  SECTION("a training that goes on needs the model no more, until it has to") {
    place.source = "nowhere";
    CHECK(score(place.task(true)->validate(place.alone), "kl") == Approx(before).margin(1e-9));
    CHECK(failure_of([&] { place.task(); }).says("nowhere"));
    put(place.dir / "valid.jsonl", Place::records({"owl", "pig", "asp"}));
    CHECK(failure_of([&] { place.task(true); }).says("nowhere"));
  }
  SECTION("of other data") {
    put(place.dir / "train.jsonl", Place::records({"cat", "dog", "asp"}));
    place.task(true);
    CHECK(inode(cache) != first);
  }
}

TEST_CASE("a training that goes on is compared with what it began with, or fails", "[preference-task]") {
  Place place;
  const std::string cache = place.dir / "cache/reference.safetensors", weights = place.dir / "lm/model.safetensors", record = place.dir / "reference.json";
  put_lm_directory(place.dir / "other", Place::make_tiny(2));
  const double kl = score(place.task_from_to("lm", "other")->validate(place.alone), "kl");
  REQUIRE(std::abs(kl) > 1e-3);
  const std::string kept = get(cache), source = get(weights);
  SECTION("the same model, wherever and whenever it was written, is asked again") {
    std::filesystem::remove(cache);
    put_lm_directory(place.dir / "moved", Place::make_tiny(1));
    place.source = "moved";
    CHECK(score(place.task(true)->validate(place.alone), "kl") == Approx(kl).epsilon(1e-9));
    CHECK(get(cache) == kept);
  }
  SECTION("another one is refused once the cache is gone") {
    put(weights, get(place.dir / "other/model.safetensors"));
    CHECK(score(place.task(true)->validate(place.alone), "kl") == Approx(kl).epsilon(1e-9));
    put(cache, kept.substr(0, kept.size() / 2));
    const Failure failure = failure_of([&] { place.task(true); });
    CHECK((failure.says(place.dir / "lm") && failure.says("not the model any more that this run began with") && failure.says(place.dir / "cache/reference.safetensors")));
    put(weights, source);
    CHECK(score(place.task(true)->validate(place.alone), "kl") == Approx(kl).epsilon(1e-9));
  }
  SECTION("one bit of a weight makes another one") {
    std::filesystem::remove(cache);
    std::string turned = source;
    turned.back() = static_cast<char>(turned.back() ^ '\x80');
    put(weights, turned);
    CHECK(failure_of([&] { place.task(true); }).says("not the model any more"));
  }
  SECTION("a cache of another beginning is no cache") {
    place.source = "other";
    place.take_model("other");
    place.task();
    put(cache, kept);
    CHECK(score(place.task(true)->validate(place.alone), "kl") == Approx(0).margin(1e-5));
  }
  SECTION("where nothing tells what it began with, it is taken for what is there") {
    std::filesystem::remove(record);
    std::filesystem::remove(cache);
    CHECK(score(place.task(true)->validate(place.alone), "kl") == Approx(kl).epsilon(1e-9));
  }
  SECTION("a record that is no record") {
    put(record, "{}");
    CHECK(failure_of([&] { place.task(true); }).says("reference.json"));
  }
}

TEST_CASE("a run writes down what it began with though its loss asks no reference", "[preference-task]") {
  Place place("simpo");
  place.task();
  place.loss = make_loss("dpo");
  put_lm_directory(place.dir / "other", Place::make_tiny(2));
  place.source = "other";
  CHECK(failure_of([&] { place.task(true); }).says("not the model any more"));
  place.source = "lm";
  CHECK(score(place.task(true)->validate(place.alone), "kl") == Approx(0).margin(1e-5));
}

TEST_CASE("threads side by side give the reference's log-probabilities as one does", "[preference-task]") {
  std::vector<std::string> animals;
  for (int i = 0; i < 64; ++i) animals.push_back(fmt::format("beast{}", i));
  std::vector<double> kl;
  for (const int count : {1, 4}) {
    set_threads(count);
    Place place("dpo");
    put_lm_directory(place.dir / "other", Place::make_tiny(2));
    place.options.data.valid = {put(place.dir / "many.jsonl", Place::records(animals))};
    place.options.batches.part_tokens = 40;
    kl.push_back(score(place.task_from_to("other", "lm")->validate(place.alone), "kl"));
  }
  set_threads(1);
  CHECK(kl[0] == Approx(kl[1]).epsilon(1e-6));
}

TEST_CASE("what a preference task refuses", "[preference-task]") {
  Place place;
  place.options.data.window = 65;
  CHECK(failure_of([&] { place.task(); }).says("--window 65: the model has 64 positions"));
  place.options.data.window = 0;
  place.options.data.valid = {"-"};
  const Failure input = failure_of([&] { place.task(); });
  CHECK((input.exit_code == kExitUsage && input.says("cannot be standard input")));
}
