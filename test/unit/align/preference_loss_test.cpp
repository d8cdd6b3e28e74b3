#include <array>
#include <set>

#include "losses.h"
#include "support/files.h"
#include "support/registered.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

double log_sigmoid(double x) { return -std::log1p(std::exp(-x)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// One answer in numbers.
struct Answer {
  double policy, reference = 0, tokens = 1;
  double ratio() const { return policy - reference; }
};

AnswerLogprobs of(const std::vector<Answer>& answers) {
  std::vector<double> policy, reference, tokens;
  for (const Answer& answer : answers) {
    policy.push_back(answer.policy);
    reference.push_back(answer.reference);
    tokens.push_back(answer.tokens);
  }
  return {doubles(policy), doubles(reference), doubles(tokens)};
}

PreferenceBatch batch_of(const Answer& chosen, const Answer& rejected, const Answer& mismatched = {0}) { return {of({chosen}), of({rejected}), of({mismatched})}; }

double value(const PreferenceLoss& loss, const Answer& chosen, const Answer& rejected, const Answer& mismatched = {0}) {
  return loss.of(batch_of(chosen, rejected, mismatched)).losses.item<double>();
}

/// Pairs of every kind, the same each time.
std::vector<std::array<Answer, 3>> random_pairs(int count) {
  Rng rng(3, "test");
  std::vector<std::array<Answer, 3>> pairs;
  const auto answer = [&] {
    const double tokens = 1 + static_cast<double>(rng.below(9)), policy = -tokens * (0.2 + std::abs(rng.normal()));
    return Answer{policy, policy + 2 * rng.normal(), tokens};
  };
  for (int i = 0; i < count; ++i) pairs.push_back({answer(), answer(), answer()});
  return pairs;
}

using Formula = std::function<double(const Answer& chosen, const Answer& rejected, double point)>;

struct Case {
  std::string name;
  std::map<std::string, std::string> settings;
  Formula formula;
};

double margin(const Answer& chosen, const Answer& rejected) { return chosen.ratio() - rejected.ratio(); }
double odds(const Answer& answer) {
  const double p = std::exp(answer.policy / answer.tokens);
  return p / (1 - p);
}

/// The definitions, written down a second time.
std::vector<Case> cases() {
  return {
      {"dpo", {}, [](const Answer& c, const Answer& r, double) { return -log_sigmoid(0.1 * margin(c, r)); }},
      {"dpo", {{"beta", "0.7"}}, [](const Answer& c, const Answer& r, double) { return -log_sigmoid(0.7 * margin(c, r)); }},
      {"cdpo", {{"beta", "0.5"}, {"eps", "0.2"}},
       [](const Answer& c, const Answer& r, double) { return -0.8 * log_sigmoid(0.5 * margin(c, r)) - 0.2 * log_sigmoid(-0.5 * margin(c, r)); }},
      {"ipo", {{"beta", "0.25"}}, [](const Answer& c, const Answer& r, double) { return std::pow(margin(c, r) - 2, 2); }},
      {"ipo", {{"beta", "0.25"}, {"average", "true"}},
       [](const Answer& c, const Answer& r, double) { return std::pow(c.ratio() / c.tokens - r.ratio() / r.tokens - 2, 2); }},
      {"hinge", {{"beta", "0.5"}}, [](const Answer& c, const Answer& r, double) { return std::max(0.0, 1 - 0.5 * margin(c, r)); }},
      {"simpo", {{"beta", "2.5"}, {"gamma", "0.3"}},
       [](const Answer& c, const Answer& r, double) { return -log_sigmoid(2.5 * c.policy / c.tokens - 2.5 * r.policy / r.tokens - 0.3); }},
      {"orpo", {{"lambda", "0.4"}},
       [](const Answer& c, const Answer& r, double) { return -c.policy / c.tokens - 0.4 * log_sigmoid(std::log(odds(c) / odds(r))); }},
      {"kto", {{"beta", "0.3"}, {"lambda-d", "1.5"}, {"lambda-u", "0.8"}},
       [](const Answer& c, const Answer& r, double point) {
         return (1.5 * (1 - sigmoid(0.3 * (c.ratio() - point))) + 0.8 * (1 - sigmoid(0.3 * (point - r.ratio())))) / 2;
       }},
  };
}

}  // namespace

TEST_CASE("every loss against its formula, and its gradients against central differences", "[preference-loss]") {
  const auto pairs = random_pairs(12);
  std::array<std::vector<Answer>, 3> columns;
  double point = 0;
  for (const auto& pair : pairs) {
    for (size_t k = 0; k < 3; ++k) columns[k].push_back(pair[k]);
    point += pair[2].ratio() / static_cast<double>(pairs.size());
  }
  REQUIRE(point != 0);
  std::set<std::string> seen;
  for (const bool above : {true, false}) {
    if ((point > 0) != above) {
      for (Answer& answer : columns[2]) answer.reference += 2 * point;
      point = -point;
    }
    const double reference_point = std::max(0.0, point);
    for (const Case& one : cases()) {
      CAPTURE(one.name, above);
      seen.insert(one.name);
      const auto loss = make_loss(one.name, one.settings);
      PreferenceBatch batch{of(columns[0]), of(columns[1]), of(columns[2])};
      for (AnswerLogprobs* answers : {&batch.chosen, &batch.rejected, &batch.mismatched}) answers->policy.set_requires_grad(true);
      const PreferenceValues values = loss->of(batch);
      REQUIRE(values.losses.sizes() == at::IntArrayRef({12}));
      values.losses.sum().backward();
      CHECK_FALSE(batch.mismatched.policy.grad().defined());
      for (size_t i = 0; i < pairs.size(); ++i) {
        const auto row = static_cast<int64_t>(i);
        const Answer &chosen = columns[0][i], &rejected = columns[1][i];
        CHECK(values.losses[row].item<double>() == Approx(one.formula(chosen, rejected, reference_point)).epsilon(1e-10).margin(1e-12));
        constexpr double kStep = 1e-5;
        const auto moved = [&](double c, double r) {
          Answer x = chosen, y = rejected;
          x.policy += c;
          y.policy += r;
          return one.formula(x, y, reference_point);
        };
        CHECK(batch.chosen.policy.grad()[row].item<double>() == Approx((moved(kStep, 0) - moved(-kStep, 0)) / (2 * kStep)).epsilon(1e-5).margin(1e-7));
        CHECK(batch.rejected.policy.grad()[row].item<double>() == Approx((moved(0, kStep) - moved(0, -kStep)) / (2 * kStep)).epsilon(1e-5).margin(1e-7));
      }
    }
  }
  CHECK(seen.size() == loss_names().size());
}

TEST_CASE("losses by hand", "[preference-loss]") {
  // Rewards 0.2 and -0.1: log(1 + exp(-0.3)).
  const Answer chosen{-10, -11}, rejected{-12, -11.5};
  CHECK(value(*make_loss("dpo", {{"beta", "0.2"}}), chosen, rejected) == Approx(0.5543552444685));
  CHECK(value(*make_loss("cdpo", {{"beta", "0.2"}, {"eps", "0.1"}}), chosen, rejected) == Approx(0.5543552444685 + 0.1 * 0.3));
  CHECK(value(*make_loss("hinge", {{"beta", "0.2"}}), chosen, rejected) == Approx(0.7));
  CHECK(value(*make_loss("ipo", {{"beta", "0.2"}}), chosen, rejected) == Approx(1));  // (1.5 - 2.5)^2
  // P = 1/2 and 1/4: odds 1 and 1/3, whose ratio 3 has sigma(log 3) = 3/4.
  CHECK(value(*make_loss("orpo", {{"lambda", "0.5"}}), {3 * std::log(0.5), 0, 3}, {2 * std::log(0.25), 0, 2}) == Approx(std::log(2) + 0.5 * std::log(4.0 / 3)));
  // -2 and -3 a token: beta of 1 minus gamma.
  CHECK(value(*make_loss("simpo", {{"beta", "2"}, {"gamma", "2"}}), {-8, 0, 4}, {-6, 0, 2}) == Approx(std::log(2)));
  // From z0 = 0.5 the chosen answer is 0.5 away and the rejected one 1.5.
  CHECK(value(*make_loss("kto", {{"beta", "1"}, {"lambda-u", "3"}}), {-1, -2}, {-2, -1}, {0.5, 0}) ==
        Approx(((1 - sigmoid(0.5)) + 3 * (1 - sigmoid(1.5))) / 2));
}

TEST_CASE("a policy that is its reference", "[preference-loss]") {
  const Answer chosen{-7, -7, 3}, rejected{-11, -11, 5};
  CHECK(value(*make_loss("dpo"), chosen, rejected) == Approx(std::log(2)));
  CHECK(value(*make_loss("cdpo"), chosen, rejected) == Approx(std::log(2)));
  CHECK(value(*make_loss("hinge"), chosen, rejected) == 1);
  for (const std::string beta : {"0.1", "0.4"}) {
    for (const std::string average : {"false", "true"}) {
      CHECK(value(*make_loss("ipo", {{"beta", beta}, {"average", average}}), chosen, rejected) == Approx(1 / (4 * std::stod(beta) * std::stod(beta))));
    }
  }
  CHECK(value(*make_loss("kto", {{"lambda-d", "1.5"}, {"lambda-u", "2"}}), chosen, rejected, {-5, -5}) == Approx(3.5 / 4));
  const PreferenceValues values = make_loss("dpo")->of(batch_of(chosen, rejected));
  CHECK((values.chosen_rewards.item<double>() == 0 && values.rejected_rewards.item<double>() == 0));
}

TEST_CASE("smoothed labels: without smoothing DPO, at the best margin no gradient, and the entropy of the label as the floor", "[preference-loss]") {
  for (const auto& pair : random_pairs(20)) {
    CHECK(value(*make_loss("cdpo", {{"eps", "0"}}), pair[0], pair[1]) == Approx(value(*make_loss("dpo"), pair[0], pair[1])).epsilon(1e-14));
  }
  const double best = std::log(0.8 / 0.2);
  PreferenceBatch batch = batch_of({-5 + best, -5}, {-4, -4});
  batch.chosen.policy.set_requires_grad(true);
  const at::Tensor losses = make_loss("cdpo", {{"beta", "1"}, {"eps", "0.2"}})->of(batch).losses;
  CHECK(losses.item<double>() == Approx(-0.8 * std::log(0.8) - 0.2 * std::log(0.2)));
  losses.sum().backward();
  CHECK(std::abs(batch.chosen.policy.grad().item<double>()) < 1e-12);
}

TEST_CASE("a better chosen or a worse rejected answer never costs more", "[preference-loss]") {
  for (const std::string& name : loss_names()) {
    CAPTURE(name);
    // The target of ipo is far away, where it is as the others are.
    const auto loss = make_loss(name, name == "ipo" ? std::map<std::string, std::string>{{"beta", "0.01"}} : std::map<std::string, std::string>{});
    for (const auto& [chosen, rejected, mismatched] : random_pairs(20)) {
      Answer better = chosen, worse = rejected;
      better.policy *= 0.9;
      worse.policy *= 1.1;
      const double before = value(*loss, chosen, rejected, mismatched);
      CHECK(value(*loss, better, rejected, mismatched) < before);
      CHECK(value(*loss, chosen, worse, mismatched) < before);
    }
  }
}

TEST_CASE("what swapping the answers does", "[preference-loss]") {
  for (const auto& [chosen, rejected, unused] : random_pairs(20)) {
    // -log sigma(m) + log sigma(-m) = -m
    const double m = 0.1 * margin(chosen, rejected);
    CHECK(value(*make_loss("dpo"), chosen, rejected) - value(*make_loss("dpo"), rejected, chosen) == Approx(-m).margin(1e-12));
    CHECK(value(*make_loss("cdpo", {{"eps", "0.5"}}), chosen, rejected) == Approx(value(*make_loss("cdpo", {{"eps", "0.5"}}), rejected, chosen)));
    // 1 - sigma(x) + 1 - sigma(-x) = 1, of both answers.
    CHECK(value(*make_loss("kto"), chosen, rejected) + value(*make_loss("kto"), rejected, chosen) == Approx(1));
    for (const std::string& name : loss_names()) {
      const PreferenceValues values = make_loss(name)->of(batch_of(chosen, rejected)), swapped = make_loss(name)->of(batch_of(rejected, chosen));
      CHECK(same_bits(values.chosen_rewards, swapped.rejected_rewards));
      CHECK(same_bits(values.rejected_rewards, swapped.chosen_rewards));
    }
  }
}

TEST_CASE("what a loss does not depend on", "[preference-loss]") {
  for (const std::string& name : loss_names()) {
    CAPTURE(name);
    const auto loss = make_loss(name);
    for (auto [chosen, rejected, mismatched] : random_pairs(10)) {
      const double before = value(*loss, chosen, rejected, mismatched);
      if (loss->needs_reference()) {
        // Policy and reference both find an answer likelier.
        Answer likelier = chosen;
        likelier.policy += 3;
        likelier.reference += 3;
        CHECK(value(*loss, likelier, rejected, mismatched) == Approx(before).epsilon(1e-10));
      } else {
        PreferenceBatch batch = batch_of(chosen, rejected);
        batch.chosen.reference = batch.rejected.reference = at::Tensor();
        CHECK(loss->of(batch).losses.item<double>() == before);
        // Twice as long an answer with twice the sum.
        CHECK(value(*loss, {2 * chosen.policy, 0, 2 * chosen.tokens}, rejected) == Approx(before).epsilon(1e-10));
      }
      PreferenceBatch batch = batch_of(chosen, rejected, mismatched);
      if (!loss->needs_mismatched()) batch.mismatched = AnswerLogprobs();
      CHECK(loss->of(batch).losses.item<double>() == before);
    }
  }
  CHECK((make_loss("kto")->needs_mismatched() && !make_loss("dpo")->needs_mismatched()));
  CHECK_FALSE((make_loss("simpo")->needs_reference() || make_loss("orpo")->needs_reference()));
}

TEST_CASE("the reference point of KTO is the mean of its batch, and never below 0", "[preference-loss]") {
  const auto loss = make_loss("kto", {{"beta", "1"}});
  const AnswerLogprobs chosen = of({{-1}, {-1}}), rejected = of({{-3}, {-3}});
  const auto first = [&](double a, double b) { return loss->of({chosen, rejected, of({{a}, {b}})}).losses[0].item<double>(); };
  CHECK(first(1, 3) == Approx(first(2, 2)));
  CHECK(first(-5, 1) == Approx(first(0, 0)));
  CHECK(first(2, 2) != Approx(first(0, 0)));
}

TEST_CASE("certain and impossible answers give finite losses and gradients", "[preference-loss]") {
  for (const std::string& name : loss_names()) {
    for (const double far : {0.0, -1e4}) {
      CAPTURE(name, far);
      PreferenceBatch batch = batch_of({far, -2, 4}, {-2, far, 4}, {far, -2});
      batch.chosen.policy.set_requires_grad(true);
      const PreferenceValues values = make_loss(name)->of(batch);
      values.losses.sum().backward();
      for (const at::Tensor& x : {values.losses, values.chosen_rewards, values.rejected_rewards, batch.chosen.policy.grad()}) CHECK(std::isfinite(x.item<double>()));
    }
  }
}

TEST_CASE("rewards are what the margin is of", "[preference-loss]") {
  const auto rewards = [](const std::string& name, const std::map<std::string, std::string>& settings = {}) {
    const PreferenceValues values = make_loss(name, settings)->of(batch_of({-4, -6, 2}, {-9, -8, 3}, {1}));
    return std::pair(values.chosen_rewards.item<double>(), values.rejected_rewards.item<double>());
  };
  for (const char* name : {"dpo", "cdpo", "ipo", "hinge", "kto"}) {
    CAPTURE(name);
    CHECK((rewards(name).first == Approx(0.2) && rewards(name).second == Approx(-0.1)));
  }
  CHECK(rewards("ipo", {{"average", "true"}}).first == Approx(0.1));
  CHECK(rewards("simpo", {{"beta", "2"}}).second == Approx(-6));
  CHECK(rewards("orpo").first == Approx(std::log(std::exp(-2) / (1 - std::exp(-2)))));
}

TEST_CASE("every loss of lib/align is in the registry, and nothing else is", "[registration]") {
  const std::vector<std::string> in_source = names_in_source(fs::path(__FILE__).parent_path() / "../../../lib/align", "PreferenceLossType");
  CHECK(in_source == loss_names());
  CHECK(loss_names() == std::vector<std::string>{"cdpo", "dpo", "hinge", "ipo", "kto", "orpo", "simpo"});
  const std::string list = list_preference_losses();
  for (const std::string& name : loss_names()) {
    const std::string& paper = Registry<PreferenceLossType>::instance().get(name).paper;
    CHECK((!paper.empty() && list.find(paper) != std::string::npos));
  }
}

TEST_CASE("only the options of the chosen loss exist", "[preference-loss]") {
  const auto declared = [](const std::map<std::string, std::string>& previews) {
    Options options;
    options.set_previews(previews);
    std::string type = "dpo";
    const auto loss = declare_preference_loss(options, type);
    std::vector<std::string> keys;
    for (const auto& option : options.all()) keys.push_back(option->key());
    return keys;
  };
  using Keys = std::vector<std::string>;
  CHECK(declared({}) == Keys{"loss.type", "loss.beta"});
  CHECK(declared({{"loss.type", "cdpo"}}) == Keys{"loss.type", "loss.beta", "loss.eps"});
  CHECK(declared({{"loss.type", "cdpo"}, {"loss", "orpo"}}) == Keys{"loss.type", "loss.lambda"});
  Options options;
  options.set_previews({{"loss", "dpoo"}});
  std::string type = "dpo";
  const auto loss = declare_preference_loss(options, type);
  const std::string wrong = options.find("loss.type")->set({"dpoo"});
  CHECK((wrong.find("'dpoo' is not one of") == 0 && wrong.find("did you mean 'dpo'?") != std::string::npos));
  CHECK(options.find_flag("loss") == options.find("loss.type"));
}
