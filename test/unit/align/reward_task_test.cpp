// Reward models and judges that learn a toy world: the answer that holds more x is the better one.

#include "align/reward_task.h"

#include <cmath>

#include "align/judge_task.h"
#include "base/log.h"
#include "model/estimator.h"
#include "support/byte_tokenizer.h"
#include "support/files.h"
#include "support/gzip.h"
#include "tensor/runtime.h"
#include "train/trainer.h"
#include "unit/model/models.h"
#include "unit/train/tasks.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;

namespace {

const bool kRuntimeIsReady = (tensor::set_up_runtime(1), true);
constexpr int64_t kTokens = 258;

std::unique_ptr<model::Lm> tiny_lm(std::optional<uint64_t> seed) {
  Options options;
  std::string type = "llama";
  const auto config = model::declare_lm(options, type);
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"model.dim", "16"}, {"model.ffn", "24"}, {"model.layers", "2"}, {"model.heads", "2"}, {"model.max-positions", "256"}}) {
    REQUIRE(options.find(key)->set({value}).empty());
  }
  return config->build(kTokens, seed);
}

std::unique_ptr<model::Scorer> scorer(std::optional<uint64_t> seed, const model::ScoreHeadMaker& head = model::linear_head(1), infer::Pooling pooling = infer::Pooling::kLast) {
  return std::make_unique<model::Scorer>(tiny_lm(seed), pooling, head);
}

std::vector<int32_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }

/// Prompts with two answers each.
ComparisonData toy_pairs(int64_t count, uint64_t seed) {
  Rng rng(seed, "toy");
  ComparisonData data;
  for (int64_t i = 0; i < count; ++i) {
    std::string answers[2];
    for (std::string& answer : answers) {
      for (int k = 0; k < 4; ++k) answer += static_cast<char>('a' + rng.below(4));
    }
    const size_t better = rng.below(2);
    answers[better][rng.below(4)] = 'x';
    data.trees.push_back({bytes("say " + std::to_string(rng.below(9))), {bytes(answers[0]), bytes(answers[1])}});
    Judged judged;
    judged.merits = {better == 0 ? 1.0 : 0.0, better == 1 ? 1.0 : 0.0};
    judged.pairs = {{better, 1 - better, 1}};
    data.judged.push_back(judged);
  }
  return data;
}

TreeTaskOptions batches(bool share = true) {
  TreeTaskOptions options;
  options.batch_tokens = 256;
  options.part_tokens = 128;
  options.share_prompts = share;
  return options;
}

train::TrainerOptions trainer_options(int64_t updates) {
  train::TrainerOptions options;
  options.max_updates = updates;
  options.schedule = {"constant", 0.01, 0, 0};
  options.save_every = 0;
  options.log_every = updates;
  options.validate_every = updates;
  return options;
}

std::map<std::string, double> by_name(const train::Scores& scores) { return {scores.begin(), scores.end()}; }

struct Trained {
  TempDir dir;
  train::Ranks alone;
  std::map<std::string, double> before, after;

  void run(train::Task& task, int64_t updates) {
    before = by_name(task.validate(alone));
    io::RunDir place(dir / "run");
    train::train(task, place, trainer_options(updates), 1, false, alone);
    after = by_name(task.validate(alone));
  }
};

std::unique_ptr<Objective> objective(const std::string& name) { return Registry<ObjectiveType>::instance().get(name).make(); }

}  // namespace

TEST_CASE("scalar objectives learn which answers are better", "[align][reward]") {
  for (const char* name : {"bradley-terry", "margin", "list"}) {
    CAPTURE(name);
    const auto goal = objective(name);
    const auto model = scorer(1);
    Trained trained;
    const auto task = make_reward_task(*model, [] { return scorer(std::nullopt); }, *goal, {"score"}, toy_pairs(200, 1), toy_pairs(60, 2), {}, batches(), 1, trained.alone);
    trained.run(*task, 60);
    CHECK(trained.before.at("accuracy") < 0.8);
    CHECK(trained.after.at("accuracy") > 0.95);
    CHECK(trained.after.at("loss") < trained.before.at("loss"));
    CHECK(trained.after.at("margin") > 0.5);
    CHECK(trained.after.at("brier") < trained.before.at("brier"));
    CHECK(trained.after.at("ece") >= 0);
  }
}

TEST_CASE("loss and gradient do not depend on whether prompts are shared", "[align][reward]") {
  const auto goal = objective("bradley-terry");
  std::vector<at::Tensor> gradients;
  std::vector<double> losses;
  for (const bool share : {true, false}) {
    const auto model = scorer(1);
    train::Ranks alone;
    RewardTaskOptions options;
    options.sft_weight = 0.3;
    TreeTaskOptions whole = batches(share);
    whole.batch_tokens = whole.part_tokens = 100000;
    const auto task = make_reward_task(*model, nullptr, *goal, {"score"}, toy_pairs(20, 1), toy_pairs(5, 2), options, whole, 1, alone);
    model->parameters().flatten();
    model->parameters().flat_gradients().zero_();
    task->workers(1);
    const train::StepLoss loss = train::take(*task);
    loss.sum.backward();
    losses.push_back(loss.sum.item<double>());
    gradients.push_back(model->parameters().flat_gradients().clone());
    CHECK(loss.tokens == 20);
  }
  CHECK(losses[0] == Approx(losses[1]).epsilon(1e-5));
  CHECK(difference(gradients[0], gradients[1]) < 1e-3);
  CHECK(gradients[0].abs().max().item<double>() > 0.01);
}

TEST_CASE("of a frozen language model nothing learns, whatever its head", "[align][reward]") {
  for (const model::ScoreHeadMaker& head : {model::linear_head(2), model::estimator_head(1, true, {8})}) {
    const auto model = scorer(1, head, infer::Pooling::kMean);
    CHECK(model->lm_learns());
    model->leave_output_layer();
    CHECK(model->lm_learns());
    model->freeze_lm();
    CHECK_FALSE(model->lm_learns());
    CHECK_FALSE(model->parameters().trained().empty());
  }
}

TEST_CASE("a frozen language model stays", "[align][reward]") {
  const auto goal = objective("bradley-terry");
  const auto model = scorer(1);
  model->freeze_lm();
  const auto head = [&] {
    for (const auto& [name, value] : model->parameters().named()) {
      if (name == "score.weight") return value.detach().clone();
    }
    return at::Tensor();
  };
  const at::Tensor before = model->output_layer().weight.clone(), head_before = head();
  Trained trained;
  const auto copy = [] {
    auto frozen = scorer(std::nullopt);
    frozen->freeze_lm();
    return frozen;
  };
  const auto task = make_reward_task(*model, copy, *goal, {"score"}, toy_pairs(100, 1), toy_pairs(20, 2), {}, batches(), 1, trained.alone);
  trained.run(*task, 10);
  CHECK(difference(before, model->output_layer().weight) == 0);
  CHECK(difference(head_before, head()) > 1e-3);
}

TEST_CASE("graded answers that are bad are left out, and a file that ends too early is an error", "[align][reward]") {
  const TempDir dir;
  const ByteTokenizer tokenizer;
  const auto chat = text::make_chat_template("plain", tokenizer);
  const text::AnswerFraming framing(*chat, tokenizer, 64, true);
  const auto framed = [&](const std::string& content, bool skip_bad) { return frame_graded(read_graded({put(dir / "in", content)}, skip_bad, {"a"}), {"a"}, framing, "data").trees.size(); };
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += fmt::format(R"({{"prompt":"q{}","response":"r{}","scores":{{"a":{}}}}})", i * 7919, i * 104729, i) + "\n";
  const std::string other = R"({"prompt":"q","response":"r","scores":{"b":1}})" "\n", bad = "no JSON\n";
  CHECK(framed(other + lines + bad, true) == 100);
  CHECK(failure_of([&] { framed(lines + other, false); }).says("it has scores of b, expected one of a (--aspects)"));
  const std::string whole = gzip(lines);
  for (const bool skip_bad : {false, true}) CHECK(failure_of([&] { framed(whole.substr(0, whole.size() / 2), skip_bad); }).says("truncated"));
}

TEST_CASE("pairs that were too long are counted", "[align][gram]") {
  const ByteTokenizer tokenizer;
  const auto chat = text::make_chat_template("plain", tokenizer);
  text::JudgeOptions options;
  options.preamble = "none";
  const text::Judge judge(options, *chat, tokenizer, 300);
  std::vector<text::Comparison> comparisons(2);
  for (text::Comparison& comparison : comparisons) {
    comparison.messages = {{"user", "q"}};
    comparison.responses = {"yes", "no", "perhaps"};
    comparison.merits = {0, 0, 0};
  }
  comparisons[1].responses[2] = std::string(400, 'x');
  const TempDir dir;
  const log::Level level = log::level();
  log::set_level(log::Level::kInfo);
  log::open_copy(dir / "log");
  const ComparisonData data = frame_pair_texts(comparisons, judge, false, 1, "data");
  log::open_copy("");
  log::set_level(level);
  CHECK(data.trees.size() == 4);
  CHECK(get(dir / "log").find("data: 4 pairs of answers") != std::string::npos);
  CHECK(get(dir / "log").find("1 pairs were too long and cut") != std::string::npos);
}

TEST_CASE("regression learns the aspects that are labelled", "[align][reward]") {
  const auto goal = objective("regression");
  const auto answers = [](int64_t count, uint64_t seed) {
    ComparisonData data;
    Rng rng(seed, "answers");
    for (int64_t i = 0; i < count; ++i) {
      std::string text;
      double x = 0;
      for (int k = 0; k < 5; ++k) {
        text += static_cast<char>(rng.below(2) == 0 ? 'x' : 'a' + rng.below(4));
        x += text.back() == 'x';
      }
      data.trees.push_back({bytes("rate"), {bytes(text)}});
      data.judged.emplace_back();
      data.judged.back().labels.push_back(x / 5);
      data.judged.back().labels.push_back(i % 2 == 0 ? 1 - x / 5 : std::nan(""));
    }
    return data;
  };
  for (const infer::Pooling pooling : {infer::Pooling::kLast, infer::Pooling::kMean}) {
    CAPTURE(static_cast<int>(pooling));
    const auto model = scorer(1, model::linear_head(2), pooling);
    const auto copy = [&] { return scorer(std::nullopt, model::linear_head(2), pooling); };
    Trained trained;
    const auto task = make_reward_task(*model, copy, *goal, {"more", "less"}, answers(300, 1), answers(60, 2), {}, batches(), 1, trained.alone);
    trained.run(*task, 80);
    CHECK(trained.after.at("rmse-more") < 0.15);
    CHECK(trained.after.at("rmse-less") < 0.2);
    CHECK(trained.after.at("pearson-more") > 0.8);
    CHECK(trained.after.at("loss") < trained.before.at("loss"));
    CHECK(trained.after.count("accuracy") == 0);
  }
}

TEST_CASE("a metric learns which hypotheses are their sources, or their references", "[align][reward]") {
  const auto goal = objective("regression");
  for (const bool with_reference : {false, true}) {
    CAPTURE(with_reference);
    const auto texts = [&](int64_t count, uint64_t seed) {
      ComparisonData data;
      Rng rng(seed, "texts");
      const auto draw = [&] { return bytes(std::string(6, static_cast<char>('a' + rng.below(6))) + "$"); };
      for (int64_t i = 0; i < count; ++i) {
        const std::vector<int32_t> source = draw(), good = with_reference ? draw() : source, hypothesis = rng.below(2) == 0 ? good : draw();
        data.trees.push_back({bytes("^"), {source, hypothesis}});
        if (with_reference) data.trees.back().endings.push_back(good);
        Judged judged;
        judged.labels.push_back(hypothesis == good ? 1 : 0);
        data.judged.push_back(judged);
      }
      return data;
    };
    const model::ScoreHeadMaker head = model::estimator_head(1, with_reference, {16});
    const auto model = scorer(1, head, infer::Pooling::kMean);
    CHECK(model->texts() == (with_reference ? 3 : 2));
    Trained trained;
    const auto task = make_reward_task(*model, [&] { return scorer(std::nullopt, head, infer::Pooling::kMean); }, *goal, {"score"}, texts(300, 1), texts(60, 2), {}, batches(), 1, trained.alone);
    trained.run(*task, 80);
    CHECK(trained.after.at("pearson-score") > 0.8);
    CHECK(trained.after.at("rmse-score") < trained.before.at("rmse-score"));
    // Parts of a batch, and what is validated with what, change nothing.
    TreeTaskOptions small = batches();
    small.batch_tokens = 60;
    train::Ranks alone;
    const auto again = by_name(make_reward_task(*model, nullptr, *goal, {"score"}, texts(5, 1), texts(60, 2), {}, small, 1, alone)->validate(alone));
    CHECK(again.at("rmse-score") == Approx(trained.after.at("rmse-score")).epsilon(1e-4));
  }
}

namespace {

constexpr int32_t kA = 2 + 'A', kB = 2 + 'B';  // as ByteTokenizer numbers them

/// Two answers in a question; the label is that of the one with x.
ComparisonData toy_questions(int64_t count, uint64_t seed, bool both) {
  ComparisonData data;
  const ComparisonData pairs = toy_pairs(count, seed);
  for (size_t i = 0; i < pairs.trees.size(); ++i) {
    for (int order = 0; order < (both ? 2 : 1); ++order) {
      std::vector<int32_t> question = bytes("1:");
      const auto put = [&](size_t answer, const char* behind) {
        const std::vector<int32_t>& text = pairs.trees[i].endings[answer];
        question.insert(question.end(), text.begin(), text.end());
        for (const int32_t byte : bytes(behind)) question.push_back(byte);
      };
      put(order == 0 ? 0 : 1, "2:");
      put(order == 0 ? 1 : 0, "=");
      const bool first = (pairs.judged[i].merits[0] > 0) == (order == 0);
      data.trees.push_back({question, {{first ? kA : kB}}});
      Judged judged;
      judged.merits = {first ? 1.0 : 0.0, first ? 0.0 : 1.0};
      data.judged.push_back(judged);
    }
  }
  return data;
}

/// A judge of the plain template over bytes, whose labels are the bytes A and B.
struct ByteJudge {
  ByteTokenizer tokenizer;
  std::unique_ptr<text::ChatTemplate> chat = text::make_chat_template("plain", tokenizer);
  text::Judge judge{text::JudgeOptions(), *chat, tokenizer, 4096};
};

}  // namespace

TEST_CASE("a judge learns to name the better answer, over labels and over the vocabulary", "[align][gram]") {
  const ByteJudge by;
  REQUIRE(by.judge.labels()[0] == kA);
  REQUIRE(by.judge.labels()[1] == kB);
  for (const char* softmax : {"labels", "vocabulary"}) {
    CAPTURE(softmax);
    JudgeTaskOptions options;
    options.softmax = softmax;
    const auto model = tiny_lm(1);
    Trained trained;
    const auto task = make_judge_task(*model, [] { return tiny_lm(std::nullopt); }, by.judge, toy_questions(300, 1, true), toy_questions(50, 2, true), options, batches(), 1, trained.alone);
    trained.run(*task, 250);
    CHECK(trained.after.at("accuracy") > 0.9);
    CHECK(trained.after.at("order-consistency") > 0.8);
    CHECK(trained.after.at("loss") < trained.before.at("loss"));
    CHECK(trained.after.at("accuracy-one-order") > 0.85);
  }
}

TEST_CASE("smoothing keeps the logits of a pair seen again and again where it says", "[align][gram]") {
  const ByteJudge by;
  JudgeTaskOptions options;
  options.smoothing.eps = 0.1;
  const auto model = tiny_lm(1);
  Trained trained;
  const auto task = make_judge_task(*model, [] { return tiny_lm(std::nullopt); }, by.judge, toy_questions(1, 1, false), toy_questions(1, 1, true), options, batches(), 1, trained.alone);
  trained.run(*task, 300);
  at::NoGradGuard no_grad;
  const train::StepLoss loss = train::take(*task);
  CHECK(loss.measures.at(1) == Approx(std::log(9.0)).margin(0.05));
  CHECK(loss.sum.item<double>() == Approx(0.3251).margin(0.001));
}

TEST_CASE("stage 1 is language modelling of the answers, each given what stands before it", "[align][gram]") {
  const ByteJudge by;
  JudgeTaskOptions options;
  options.stage = 1;
  const auto model = tiny_lm(1);
  const std::vector<int32_t> prompt = bytes("prompt:"), a = bytes("abc"), b = bytes("wxyz");
  const auto loss_of = [&](std::vector<int32_t> before, const std::vector<int32_t>& learned) {
    ComparisonData data;
    data.trees.push_back({std::move(before), {learned}});
    data.judged.emplace_back();
    train::Ranks alone;
    const auto task = make_judge_task(*model, [] { return tiny_lm(std::nullopt); }, by.judge, data, data, options, batches(), 1, alone);
    const train::StepLoss loss = train::take(*task);
    CHECK(loss.tokens == static_cast<int64_t>(learned.size()));
    return loss.sum.item<double>();
  };
  std::vector<int32_t> both = a, with_a = prompt;
  both.insert(both.end(), b.begin(), b.end());
  with_a.insert(with_a.end(), a.begin(), a.end());
  CHECK(loss_of(prompt, both) == Approx(loss_of(prompt, a) + loss_of(with_a, b)).epsilon(1e-5));
}
