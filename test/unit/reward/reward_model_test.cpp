#include "reward/reward_model.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <tuple>

#include "reward/answer_scores.h"
#include "support/byte_tokenizer.h"
#include "support/fake_language_model.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::reward;
using namespace seqmill::test;

namespace {

constexpr int64_t kBytes = 258;

std::string text_of(const infer::Tokens& tokens) { return ByteTokenizer().decode(tokens); }

infer::LoadedLanguageModel loaded(Distribution states, std::vector<float> head = {}, int64_t positions = 1 << 16) {
  infer::LoadedLanguageModel model;
  model.model = std::make_unique<FakeLanguageModel>(std::move(states), kBytes, positions);
  model.tokenizer = std::make_shared<ByteTokenizer>();
  model.chat_template = "plain";
  model.score_head = std::move(head);
  return model;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// How often a letter stands behind the last question mark.
double count(const std::string& text, char letter) {
  return static_cast<double>(std::count(text.begin() + static_cast<int64_t>(text.rfind('?')), text.end(), letter));
}

/// Two numbers of a state count a's and b's.
Distribution letters() {
  return [](const infer::Tokens& history) {
    std::vector<float> state(kBytes);
    const std::string text = text_of(history);
    state[0] = static_cast<float>(count(text, 'a'));
    state[1] = static_cast<float>(count(text, 'b'));
    if (text.find('x') != std::string::npos) state[0] = NAN;
    return state;
  };
}

std::vector<float> head_of(const std::vector<std::pair<float, float>>& heads) {
  std::vector<float> all;
  for (const auto& [first, second] : heads) {
    all.resize(all.size() + kBytes);
    all[all.size() - kBytes] = first;
    all[all.size() - kBytes + 1] = second;
  }
  return all;
}

std::vector<text::Message> question(const std::string& text) { return {{"user", text}}; }

const std::vector<Inquiry> kInquiries{{question("ab?"), {"aaa", "b", "aab"}}, {question("which?"), {"bb"}}, {question("and which letter?"), {"a", "bbbb"}}};

/// A judge of which the logits of A and B are what `decide` says of the first and second answer of a question; answers are digits between 'z's.
Distribution judge_by(std::function<std::array<double, 2>(int first, int second)> decide) {
  return [=](const infer::Tokens& history) {
    const std::string text = text_of(history);
    std::vector<int> answers;
    for (size_t at = text.find('z'); at != std::string::npos; at = text.find('z', at + 3)) answers.push_back(text.at(at + 1) - '0');
    if (answers.size() != 2) fail("{} answers in: {}", answers.size(), text);
    const std::array<double, 2> logits = decide(answers[0], answers[1]);
    std::vector<float> state(kBytes);
    state[2 + 'A'] = static_cast<float>(logits[0]);
    state[2 + 'B'] = static_cast<float>(logits[1]);
    return state;
  };
}

text::JudgeOptions no_preamble() {
  text::JudgeOptions options;
  options.preamble = "none";
  return options;
}

std::unique_ptr<RewardModel> judge_of(Distribution states, const AskingOptions& options = {}) { return make_judge_model(loaded(std::move(states)), "", no_preamble(), options); }

std::vector<std::string> answers_of(const std::vector<int>& digits) {
  std::vector<std::string> answers;
  for (const int digit : digits) answers.push_back(fmt::format("z{}z", digit));
  return answers;
}

}  // namespace

TEST_CASE("a reward is what the head reads in the state of an answer's last token") {
  const auto model = make_scalar_model(loaded(letters(), head_of({{1, 0}, {-1, 0.5}})), "", {"helpful", "short"}, {});
  CHECK_FALSE(model->is_judge());
  const std::vector<Outcome> outcomes = model->ask(kInquiries, 1);
  REQUIRE(outcomes.size() == 3);
  CHECK(outcomes[0].values == std::vector<double>{3, -3, 0, 0.5, 2, -1.5});
  CHECK(outcomes[1].values == std::vector<double>{0, 1});
  CHECK(outcomes[2].values == std::vector<double>{1, -1, 0, 2});
}

TEST_CASE("scores depend neither on batches nor on threads nor on shared prompts") {
  for (const int64_t batch_tokens : {1, 30, 4096}) {
    for (const bool share : {true, false}) {
      for (const int threads : {1, 3}) {
        const auto model = make_scalar_model(loaded(letters(), head_of({{1, 2}})), "", {}, {0, share, batch_tokens});
        CHECK(model->aspects() == std::vector<std::string>{"score"});
        const std::vector<Outcome> outcomes = model->ask(kInquiries, threads);
        CHECK(outcomes[0].values == std::vector<double>{3, 2, 4});
        CHECK(outcomes[1].values == std::vector<double>{4});
        CHECK(outcomes[2].values == std::vector<double>{1, 8});
      }
    }
  }
}

TEST_CASE("a shared prompt is computed once") {
  const auto tokens = [](bool share) { return make_scalar_model(loaded(letters(), head_of({{1, 0}})), "", {}, {0, share})->ask(kInquiries, 1)[2].tokens; };
  // The begin symbol, the question, and the answers with what ends them.
  CHECK(tokens(true) == 1 + 17 + 2 + 5);
  CHECK(tokens(false) == 2 * (1 + 17) + 2 + 5);
}

TEST_CASE("a score that is no number is told with its answer, and others are not touched by it") {
  const auto model = make_scalar_model(loaded(letters(), head_of({{1, 0}})), "", {}, {});
  const std::vector<Outcome> outcomes = model->ask({{question("?"), {"a", "x"}}, {question("?"), {"aa"}}}, 1);
  CHECK(outcomes[0].wrong.find("answer 2: the model gives a score of nan") != std::string::npos);
  CHECK(outcomes[0].values.empty());
  CHECK(outcomes[1].values == std::vector<double>{2});
}

TEST_CASE("models that cannot score are refused") {
  CHECK(failure_of([] { make_scalar_model(loaded(letters()), "", {}, {}); }).says("no head"));
  CHECK(failure_of([] { make_scalar_model(loaded(letters(), head_of({{1, 0}, {0, 1}})), "", {"one"}, {}); }).says("2 scores and names for 1"));
  const Failure wide = failure_of([] { make_scalar_model(loaded(letters(), head_of({{1, 0}}), 50), "", {}, {51}); });
  CHECK((wide.exit_code == kExitUsage && wide.says("--window 51")));
  CHECK(make_scalar_model(loaded(letters(), head_of({{1, 0}, {0, 1}})), "", {}, {})->aspects() == std::vector<std::string>{"score-1", "score-2"});
}

TEST_CASE("what is too long for the window is cut and counted") {
  const auto model = make_scalar_model(loaded(letters(), head_of({{1, 0}}), 24), "", {}, {});
  const std::vector<Outcome> outcomes = model->ask({{question("a long question that has no room?"), {"a", "b"}}, {question("?"), {std::string(40, 'a')}}}, 1);
  CHECK((outcomes[0].cut_prompts == 1 && outcomes[0].cut_answers == 0 && outcomes[0].values == std::vector<double>{1, 0}));
  CHECK((outcomes[1].cut_answers == 1 && outcomes[1].values.at(0) > 15));
}

TEST_CASE("ensembles take the mean or the least") {
  const auto ensemble = [](bool least) {
    std::vector<std::unique_ptr<RewardModel>> models;
    for (const auto& head : {head_of({{1, 0}}), head_of({{0, 1}})}) models.push_back(make_scalar_model(loaded(letters(), head), "", {}, {}));
    return make_ensemble(std::move(models), least);
  };
  CHECK(ensemble(false)->ask(kInquiries, 2)[0].values == std::vector<double>{1.5, 0.5, 1.5});
  CHECK(ensemble(true)->ask(kInquiries, 2)[0].values == std::vector<double>{0, 0, 1});
  const auto with_judge = [] {
    std::vector<std::unique_ptr<RewardModel>> models;
    models.push_back(make_scalar_model(loaded(letters(), head_of({{1, 0}})), "", {}, {}));
    models.push_back(judge_of(judge_by([](int, int) { return std::array<double, 2>{}; })));
    make_ensemble(std::move(models), false);
  };
  CHECK(failure_of(with_judge).says("cannot be combined"));
}

TEST_CASE("a judge's score normalises across the labels of an order, not across orders") {
  // Logits 4 and 0 where the first answer of the pairing stands in front, 3 and 1 where it does not.
  const auto model = judge_of(judge_by([](int first, int) { return first == 1 ? std::array<double, 2>{4, 0} : std::array<double, 2>{3, 1}; }));
  REQUIRE(model->is_judge());
  const std::vector<Outcome> outcomes = model->ask({{question("which"), answers_of({1, 2}), {{0, 1}, {1, 0}, {0, 0}}}}, 1);
  REQUIRE(outcomes[0].wrong.empty());
  REQUIRE(outcomes[0].values.size() == 6);
  CHECK(outcomes[0].values[0] == Approx(sigmoid(4)));
  CHECK(outcomes[0].values[1] == Approx(sigmoid(-2)));
  CHECK(pair_score(outcomes[0], 0) == Approx(0.5506).margin(5e-5));
  CHECK(pair_score(outcomes[0], 0) + pair_score(outcomes[0], 1) == Approx(1));
  CHECK(pair_score(outcomes[0], 2) == 0.5);
}

TEST_CASE("scores of two answers add up to one for any judge, shared beginnings or not") {
  const auto hashed = [](int first, int second) { return std::array<double, 2>{std::sin(first * 7.0 + second), std::cos(first + 3.0 * second) * 2}; };
  for (const bool share : {true, false}) {
    const auto model = judge_of(judge_by(hashed), {0, share});
    for (int a = 0; a < 5; ++a) {
      for (int b = 0; b < 5; ++b) {
        const std::vector<Outcome> outcomes = model->ask({{question("q"), answers_of({a, b}), {{0, 1}}}, {question("q"), answers_of({a, b}), {{1, 0}}}}, 2);
        CHECK(pair_score(outcomes[0], 0) + pair_score(outcomes[1], 0) == Approx(1).epsilon(1e-12));
        if (a == b) CHECK(pair_score(outcomes[0], 0) == 0.5);
      }
    }
  }
}

TEST_CASE("a preference for a place does not change the winner") {
  for (const double bias : {-9.0, -1.0, 0.0, 0.5, 30.0}) {
    const auto biased = [bias](int first, int second) { return std::array<double, 2>{0.7 * (first - second) + bias, 0}; };
    const auto model = judge_of(judge_by(biased));
    const Outcome outcome = model->ask({{question("q"), answers_of({3, 2}), {{0, 1}}}}, 1)[0];
    CAPTURE(bias);
    const double score = pair_score(outcome, 0);
    CHECK(score == Approx((sigmoid(0.7 + bias) + sigmoid(0.7 - bias)) / 2));
    CHECK(score > 0.5);
    // One order alone would be misled.
    if (std::abs(bias) > 0.7) CHECK((outcome.values[0] > 0.5) != (outcome.values[1] > 0.5));
  }
}

TEST_CASE("rankings of a judge and of a model that scores") {
  const auto better = [](int first, int second) { return std::array<double, 2>{static_cast<double>(first), static_cast<double>(second)}; };
  const auto model = judge_of(judge_by(better));
  const std::vector<AnswerSet> sets{{question("q"), answers_of({4, 1, 6, 5})}, {question("r"), answers_of({2, 2})}, {question("s"), answers_of({7})}};
  for (const int threads : {1, 2}) {
    const std::vector<AnswerScores> scan = AnswerScorer(*model, RankBy::kScan, "").score(sets, threads);
    CHECK(scan[0].best_of_first == std::vector<size_t>{0, 0, 2, 2});
    CHECK(*scan[0].best_score == Approx((sigmoid(2) + sigmoid(1)) / 2));
    CHECK(scan[1].best() == 0);
    CHECK((scan[2].best() == 0 && !scan[2].best_score));
    CHECK(scan[0].rewards.empty());
    const std::vector<AnswerScores> tournament = AnswerScorer(*model, RankBy::kTournament, "").score(sets, threads);
    CHECK(tournament[0].best() == 2);
    const std::vector<AnswerScores> robin = AnswerScorer(*model, RankBy::kRoundRobin, "").score(sets, threads);
    CHECK(robin[0].rewards[0] == Approx((sigmoid(3) + sigmoid(-2) + sigmoid(-1)) / 3));
    CHECK((robin[0].best() == 2 && *robin[0].best_score == robin[0].rewards[2]));
    CHECK(robin[1].rewards == std::vector<double>{0.5, 0.5});
  }
  const std::vector<AnswerScores> against = AnswerScorer(*model, RankBy::kRoundRobin, "").score({{question("q"), answers_of({4, 1}), "z3z"}}, 1);
  CHECK(against[0].rewards[0] == Approx(sigmoid(1)));
  CHECK(against[0].rewards[1] == Approx(sigmoid(-2)));
  CHECK(failure_of([&] { AnswerScorer(*model, RankBy::kScan, "helpful"); }).says("a judge has no aspects"));

  const auto scalar = make_scalar_model(loaded(letters(), head_of({{1, 0}, {0, 3}})), "", {"a", "b"}, {});
  const std::vector<AnswerSet> words{{question("?"), {"a", "ab", "aa", "b"}}};
  const AnswerScores mean = AnswerScorer(*scalar, RankBy::kScan, "").score(words, 1)[0];
  CHECK(mean.rewards == std::vector<double>{0.5, 2, 1, 1.5});
  CHECK(mean.best_of_first == std::vector<size_t>{0, 1, 1, 1});
  const AnswerScores chosen = AnswerScorer(*scalar, RankBy::kScan, "a").score(words, 1)[0];
  CHECK(chosen.rewards == std::vector<double>{1, 1, 2, 0});
  CHECK(chosen.best_of_first == std::vector<size_t>{0, 0, 2, 2});
  CHECK(failure_of([&] { AnswerScorer(*scalar, RankBy::kScan, "c"); }).says("the model scores a, b"));
}

TEST_CASE("a reward of pooled states is what the head reads in their mean over the answer") {
  infer::LoadedLanguageModel pooled = loaded(letters(), head_of({{1, 0}}));
  pooled.pooling = infer::Pooling::kMean;
  const auto model = make_scalar_model(std::move(pooled), "", {}, {});
  const std::vector<Outcome> outcomes = model->ask(kInquiries, 1);
  // Counts of a's behind each token of the answer and of its end.
  CHECK(outcomes[0].values[0] == Approx((1 + 2 + 3 + 3) / 4.0));
  CHECK(outcomes[0].values[2] == Approx((1 + 2 + 2 + 2) / 4.0));
  CHECK(outcomes[2].values[0] == Approx(1));
  for (const bool share : {true, false}) {
    infer::LoadedLanguageModel again = loaded(letters(), head_of({{1, 0}}));
    again.pooling = infer::Pooling::kMean;
    CHECK(make_scalar_model(std::move(again), "", {}, {0, share, 1})->ask(kInquiries, 2)[0].values == outcomes[0].values);
  }
}

namespace {

/// The state of a token: how many a's and b's there are up to it, and nothing else.
Distribution all_letters() {
  return [](const infer::Tokens& history) {
    std::vector<float> state(kBytes);
    const std::string text = text_of(history);
    state[0] = static_cast<float>(std::count(text.begin(), text.end(), 'a'));
    state[1] = static_cast<float>(std::count(text.begin(), text.end(), 'b'));
    if (text.find('x') != std::string::npos) state[0] = NAN;
    return state;
  };
}

/// Scores of a linear head: weights by feature block and number.
infer::LoadedLanguageModel metric(int64_t blocks, const std::vector<std::tuple<int64_t, int64_t, float>>& weights) {
  infer::LoadedLanguageModel model = loaded(all_letters());
  infer::EstimatorHead::Layer layer{blocks * kBytes, 1, std::vector<float>(static_cast<size_t>(blocks * kBytes)), {0.5F}};
  for (const auto& [block, number, weight] : weights) layer.weight[static_cast<size_t>(block * kBytes + number)] = weight;
  model.estimator = infer::EstimatorHead({layer}, kBytes);
  return model;
}

}  // namespace

TEST_CASE("a metric compares a hypothesis with its source") {
  // |h - s| of a's, and h * s of b's.
  const auto model = make_metric_model(metric(4, {{3, 0, -1}, {2, 1, 2}}), {}, {});
  CHECK(model->subject() == Subject::kTranslations);
  CHECK_FALSE(model->is_judge());
  CHECK(model->aspects() == std::vector<std::string>{"score"});
  // Texts have the begin symbol before them and an end: means of "a" are (1 + 1) / 2, of "ab" a 1, b 2 / 3.
  const std::vector<Outcome> outcomes = model->ask({{question("a"), {"a", "", "aa"}}, {question("ab"), {"b"}}, {question("x"), {"a"}}}, 1);
  CHECK(outcomes[0].values[0] == Approx(0.5));
  CHECK(outcomes[0].values[1] == Approx(0.5 - 1));
  CHECK(outcomes[0].values[2] == Approx(0.5 - (5.0 / 3 - 1)));
  CHECK(outcomes[1].values[0] == Approx(0.5 - 1 + 2 * (2.0 / 3)));
  CHECK(outcomes[2].wrong.find("hypothesis 1: the model gives a score of") != std::string::npos);
  CHECK(outcomes[0].tokens == 1 + 2 + 2 + 1 + 3);
  for (const bool share : {true, false}) {
    CHECK(make_metric_model(metric(4, {{3, 0, -1}, {2, 1, 2}}), {}, {0, share, 1})->ask({{question("a"), {"a", "", "aa"}}}, 2)[0].values == outcomes[0].values);
  }
  const Outcome several = model->ask({{{{"user", "a"}, {"assistant", "b"}, {"user", "c"}}, {"a"}}}, 1)[0];
  CHECK(several.wrong.find("a prompt of 3 messages") != std::string::npos);
  const Outcome cut = make_metric_model(metric(4, {{0, 0, 1}}), {}, {5})->ask({{question("aaaaaaaa"), {"aaaaaa", "a"}}}, 1)[0];
  CHECK((cut.cut_prompts == 1 && cut.cut_answers == 1));
  CHECK(cut.values[0] == Approx(0.5 + (1 + 2 + 3 + 3) / 4.0));
}

TEST_CASE("a metric with references needs them") {
  // r of a's, |h - r| of b's.
  const auto model = make_metric_model(metric(6, {{1, 0, 1}, {5, 1, 1}}), {"quality"}, {});
  CHECK(model->subject() == Subject::kReferenced);
  const std::vector<Outcome> outcomes = model->ask({{question("bbb"), {"b", ""}, {}, "a"}, {question("b"), {"b"}}}, 1);
  CHECK(outcomes[0].values[0] == Approx(0.5 + 1 + 1));
  CHECK(outcomes[0].values[1] == Approx(0.5 + 1));
  CHECK(outcomes[1].wrong.find("it has no reference") != std::string::npos);
  const AnswerScores scores = AnswerScorer(*model, RankBy::kRoundRobin, "quality").score({{question("b"), {"b", "bb"}, "ab"}}, 1)[0];
  CHECK(scores.best() == 1);
  const auto combined = [] {
    std::vector<std::unique_ptr<RewardModel>> models;
    models.push_back(make_metric_model(metric(4, {{0, 0, 1}}), {}, {}));
    models.push_back(make_metric_model(metric(6, {{0, 0, 1}}), {}, {}));
    make_ensemble(std::move(models), false);
  };
  CHECK(failure_of(combined).says("cannot be combined"));
  CHECK(failure_of([] { make_metric_model(loaded(all_letters()), {}, {}); }).says("no head of a metric"));
  CHECK(failure_of([] { make_metric_model(metric(4, {}), {"a", "b"}, {}); }).says("1 scores and names for 2"));
}
