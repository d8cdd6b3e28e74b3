// Losses against closed forms, and against the expected reward of a policy small enough to be enumerated.

#include "rl/algorithm.h"

#include <array>
#include <filesystem>

#include "support/files.h"
#include "support/registered.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::rl;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

at::Tensor doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

std::unique_ptr<Algorithm> make(const std::string& name, const std::map<std::string, std::string>& settings = {}) {
  auto algorithm = Registry<AlgorithmType>::instance().get(name).make();
  Options options;
  algorithm->declare(options);
  for (const auto& [key, value] : settings) {
    Option* option = options.find("algorithm." + key);
    REQUIRE(option);
    REQUIRE(option->set({value}).empty());
  }
  return algorithm;
}

/// One token a candidate, so that log-probabilities of tokens are those of outputs.
ScoredCandidates of_outputs(const at::Tensor& logprobs, const at::Tensor& advantages, std::vector<int64_t> groups) {
  ScoredCandidates candidates;
  candidates.logprobs = logprobs;
  candidates.lengths.assign(static_cast<size_t>(logprobs.size(0)), 1);
  candidates.groups = std::move(groups);
  candidates.advantages = advantages;
  candidates.drawn = logprobs.detach();
  return candidates;
}

/// Outputs of the symbols a, b and an end, of at most three: the end is one of them, or the third symbol is not.
struct Toy {
  /// Logits [7, 3] of what follows the empty text, a, b, aa, ab, ba, bb.
  at::Tensor logits = leaf(normals({7, 3}, 5), at::kDouble);
  std::vector<std::vector<int64_t>> outputs;  ///< 0: a, 1: b, 2: end

  Toy() {
    for (int64_t x = 0; x < 3; ++x) {
      if (x == 2) {
        outputs.push_back({2});
        continue;
      }
      for (int64_t y = 0; y < 3; ++y) {
        if (y == 2) {
          outputs.push_back({x, 2});
          continue;
        }
        for (int64_t z = 0; z < 3; ++z) outputs.push_back({x, y, z});
      }
    }
  }

  /// log p of each output, of the policy at this temperature.
  at::Tensor logprobs(double temperature = 1) const {
    const at::Tensor steps = at::log_softmax(logits / temperature, 1);
    std::vector<at::Tensor> all;
    for (const std::vector<int64_t>& output : outputs) {
      at::Tensor sum = steps[0][output[0]];
      if (output.size() > 1) sum = sum + steps[1 + output[0]][output[1]];
      if (output.size() > 2) sum = sum + steps[3 + 2 * output[0] + output[1]][output[2]];
      all.push_back(sum);
    }
    return at::stack(all);
  }

  at::Tensor rewards() const {
    std::vector<double> values;
    for (size_t i = 0; i < outputs.size(); ++i) values.push_back(0.3 + std::sin(static_cast<double>(i) * 1.7));
    return doubles(values);
  }

  at::Tensor gradient_of(const at::Tensor& value) {
    if (logits.grad().defined()) logits.mutable_grad() = at::Tensor();
    value.backward();
    return logits.grad().clone();
  }
};

/// The largest deviation of the mean gradient of REINFORCE over draws from that of the expected reward, in standard errors; draws at a temperature, perhaps weighted.
double deviation(double temperature, double importance_clip) {
  Toy toy;
  const at::Tensor exact = toy.gradient_of(-(at::exp(toy.logprobs()) * toy.rewards()).sum());
  const at::Tensor drawn_from = toy.logprobs(temperature).detach();
  const at::Tensor p = at::exp(drawn_from);
  // The gradient of one draw of each output; the mean over draws, and its variance, follow of how often each was drawn.
  std::vector<at::Tensor> of_output;
  for (size_t i = 0; i < toy.outputs.size(); ++i) {
    const auto k = static_cast<int64_t>(i);
    ScoredCandidates one = of_outputs(toy.logprobs().narrow(0, k, 1), toy.rewards().narrow(0, k, 1), {1});
    one.drawn = drawn_from.narrow(0, k, 1);
    const auto algorithm = make("reinforce", {{"importance-clip", std::to_string(importance_clip)}});
    of_output.push_back(toy.gradient_of(algorithm->loss(one).sum));
  }
  constexpr int kDraws = 200000;
  Rng rng(11, "draws");
  std::vector<double> counts(toy.outputs.size());
  for (int i = 0; i < kDraws; ++i) {
    double rest = rng.uniform();
    size_t k = 0;
    while (k + 1 < counts.size() && (rest -= p[static_cast<int64_t>(k)].item<double>()) >= 0) ++k;
    ++counts[k];
  }
  const at::Tensor shares = doubles(counts).view({-1, 1, 1}) / kDraws, all = at::stack(of_output);
  const at::Tensor mean = (shares * all).sum(0), variance = (shares * at::square(all - mean)).sum(0);
  return ((mean - exact).abs() / at::sqrt(variance / kDraws).clamp_min(1e-12)).max().item<double>();
}

/// Candidates of several tokens, as PPO and GRPO see them.
ScoredCandidates some(uint64_t seed, bool with_reference = true) {
  ScoredCandidates c;
  c.lengths = {3, 1, 4, 2};
  c.groups = {2, 2};
  c.logprobs = leaf(-normals({10}, seed).abs(), at::kDouble);
  c.old_logprobs = c.logprobs.detach() + normals({10}, seed + 1, at::kDouble) * 0.3;
  if (with_reference) c.reference_logprobs = c.logprobs.detach() + normals({10}, seed + 2, at::kDouble) * 0.5;
  c.advantages = normals({4}, seed + 3, at::kDouble);
  c.values = leaf(normals({10}, seed + 4), at::kDouble);
  c.old_values = c.values.detach() + normals({10}, seed + 5, at::kDouble) * 0.3;
  c.returns = normals({10}, seed + 6, at::kDouble);
  return c;
}

double at_index(const at::Tensor& tensor, int64_t i) { return tensor[i].item<double>(); }

}  // namespace

TEST_CASE("the toy has 15 outputs, and their probabilities sum to 1", "[rl][toy]") {
  const Toy toy;
  CHECK(toy.outputs.size() == 15);
  CHECK(at::exp(toy.logprobs()).sum().item<double>() == Approx(1).epsilon(1e-12));
  CHECK(at::exp(toy.logprobs(0.5)).sum().item<double>() == Approx(1).epsilon(1e-12));
}

TEST_CASE("REINFORCE has the gradient of the expected reward in the mean: at temperature 1, and elsewhere with importance weights only", "[rl][toy]") {
  CHECK(deviation(1, 0) < 4);
  CHECK(deviation(0.5, 0) > 4);
  CHECK(deviation(0.5, 1e9) < 4);
}

TEST_CASE("minimum risk over all outputs is the expected reward", "[rl][toy]") {
  Toy toy;
  const at::Tensor loss = make("mrt", {{"alpha", "1"}})->loss(of_outputs(toy.logprobs(), toy.rewards(), {15})).sum;
  CHECK(loss.item<double>() == Approx(-(at::exp(toy.logprobs()) * toy.rewards()).sum().item<double>()).epsilon(1e-12));
  const at::Tensor gradient = toy.gradient_of(loss), exact = toy.gradient_of(-(at::exp(toy.logprobs()) * toy.rewards()).sum());
  CHECK(difference(gradient, exact) < 1e-12);
}

TEST_CASE("the gradient of minimum risk is its closed form, a constant does nothing, and a small alpha makes it REINFORCE", "[rl]") {
  const at::Tensor logprobs = -normals({7}, 3, at::kDouble).abs() * 5, rewards = normals({7}, 4, at::kDouble);
  const std::vector<int64_t> groups{4, 3};
  const auto gradient = [&](double alpha, const at::Tensor& advantages) {
    const at::Tensor x = leaf(logprobs, at::kDouble);
    const PolicyLoss loss = mrt_loss(of_outputs(x, advantages, groups), alpha);
    CHECK(loss.weight == 2);
    loss.sum.backward();
    return x.grad().clone();
  };
  for (const double alpha : {0.005, 0.7}) {
    std::vector<at::Tensor> parts;
    int64_t first = 0;
    for (const int64_t count : groups) {
      const at::Tensor shares = at::softmax(alpha * logprobs.narrow(0, first, count), 0), r = rewards.narrow(0, first, count);
      parts.push_back(-alpha * shares * (r - (shares * r).sum()));
      first += count;
    }
    CHECK(difference(gradient(alpha, rewards), at::cat(parts)) < 1e-12);
    CHECK(difference(gradient(alpha, rewards + 17.25), gradient(alpha, rewards)) < 1e-12);
    CHECK(gradient(alpha, at::full({7}, 0.4, at::kDouble)).abs().max().item<double>() < 1e-15);
  }
  constexpr double kSmall = 1e-6;
  const at::Tensor centred = at::cat({rewards.narrow(0, 0, 4) - rewards.narrow(0, 0, 4).mean(), rewards.narrow(0, 4, 3) - rewards.narrow(0, 4, 3).mean()});
  const at::Tensor limit = -centred / doubles({4, 4, 4, 4, 3, 3, 3});
  CHECK(difference(gradient(kSmall, rewards) / kSmall, limit) < 1e-4);
}

TEST_CASE("rewards that are the baseline leave REINFORCE no gradient at all", "[rl]") {
  RewardQueue queue(10);
  const std::vector<Group> groups{{{0.7, 0.7}, 0}};
  queue.push(groups[0].rewards);
  AdvantageOptions options;
  options.baseline = "fifo-mean";
  const at::Tensor x = leaf(doubles({-1, -2}), at::kDouble);
  const PolicyLoss loss = make("esrl")->loss(of_outputs(x, doubles(advantages_of(groups, options, queue)[0]), {2}));
  loss.sum.backward();
  CHECK(loss.weight == 2);
  CHECK(x.grad().abs().max().item<double>() == 0);
}

TEST_CASE("sums over the tokens of candidates, and back", "[rl]") {
  const at::Tensor values = leaf(doubles({1, 2, 3, 4, 5, 6}), at::kDouble);
  const at::Tensor sums = sum_by_candidate(values, {3, 1, 2});
  CHECK(difference(sums, doubles({6, 4, 11})) == 0);
  (sums * doubles({1, 10, 100})).sum().backward();
  CHECK(difference(values.grad(), doubles({1, 1, 1, 10, 100, 100})) == 0);
  CHECK(difference(spread_to_tokens(doubles({7, 8, 9}), {3, 1, 2}), doubles({7, 7, 7, 8, 9, 9})) == 0);
}

TEST_CASE("REINFORCE is minus the advantage times the log-probability, over the candidates", "[rl]") {
  ScoredCandidates c = some(1);
  c.drawn = doubles({-3, -2, -1, -2});
  const at::Tensor sums = sum_by_candidate(c.logprobs.detach(), c.lengths);
  const PolicyLoss plain = make("reinforce")->loss(c), weighted = make("reinforce", {{"importance-clip", "1.5"}})->loss(c), esrl = make("esrl")->loss(c);
  CHECK(plain.weight == 4);
  CHECK(plain.sum.item<double>() == Approx(-(c.advantages * sums).sum().item<double>()));
  CHECK(esrl.sum.item<double>() == Approx(plain.sum.item<double>()));
  double expected = 0;
  for (int64_t i = 0; i < 4; ++i) {
    expected -= std::min(1.5, std::exp(at_index(sums, i) - at_index(c.drawn, i))) * at_index(c.advantages, i) * at_index(sums, i);
  }
  CHECK(weighted.sum.item<double>() == Approx(expected));
  CHECK(make("esrl", {{"loss", "mrt"}, {"alpha", "0.3"}})->loss(c).sum.item<double>() == Approx(mrt_loss(c, 0.3).sum.item<double>()));
}

TEST_CASE("PPO takes the lesser of the ratio and the clipped ratio, and of values the larger error", "[rl][ppo]") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    ScoredCandidates c = some(seed);
    c.advantages = normals({10}, seed + 50, at::kDouble);
    double expected = 0;
    for (int64_t t = 0; t < 10; ++t) {
      const double ratio = std::exp(at_index(c.logprobs, t) - at_index(c.old_logprobs, t)), a = at_index(c.advantages, t);
      expected -= std::min(ratio * a, std::min(1.2, std::max(0.8, ratio)) * a);
      const double v = at_index(c.values, t), old = at_index(c.old_values, t), target = at_index(c.returns, t);
      const double clipped = old + std::min(0.2, std::max(-0.2, v - old));
      expected += 0.5 * std::max((v - target) * (v - target), (clipped - target) * (clipped - target));
    }
    const PolicyLoss loss = make("ppo")->loss(c);
    CHECK(loss.weight == 10);
    CHECK(loss.sum.item<double>() == Approx(expected));
    loss.sum.backward();
    // Where the ratio is beyond the clip on the side that the advantage asks for, nothing is learned.
    for (int64_t t = 0; t < 10; ++t) {
      const double ratio = std::exp(at_index(c.logprobs, t) - at_index(c.old_logprobs, t)), a = at_index(c.advantages, t);
      const bool beyond = (a > 0 && ratio > 1.2) || (a < 0 && ratio < 0.8);
      CHECK((at_index(c.logprobs.grad(), t) == 0) == beyond);
      if (!beyond) CHECK(at_index(c.logprobs.grad(), t) == Approx(-ratio * a));
    }
  }
  const PolicyLoss free = make("ppo", {{"value-clip", "0"}, {"value-weight", "1"}, {"clip", "1"}})->loss([] {
    ScoredCandidates c = some(9);
    c.old_logprobs = c.logprobs.detach();
    c.advantages = at::zeros({10}, at::kDouble);
    return c;
  }());
  const ScoredCandidates c = some(9);
  CHECK(free.sum.item<double>() == Approx(at::square(c.values - c.returns).sum().item<double>()));
  CHECK(make("ppo")->needs_values());
}

TEST_CASE("GRPO is the mean over the tokens of a candidate, less the divergence from the reference", "[rl][grpo]") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const ScoredCandidates c = some(seed);
    double expected = 0;
    int64_t t = 0;
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t length = c.lengths[static_cast<size_t>(i)];
      for (int64_t k = 0; k < length; ++k, ++t) {
        const double ratio = std::exp(at_index(c.logprobs, t) - at_index(c.old_logprobs, t)), a = at_index(c.advantages, i);
        const double d = at_index(c.reference_logprobs, t) - at_index(c.logprobs, t);
        expected -= (std::min(ratio * a, std::min(1.2, std::max(0.8, ratio)) * a) - 0.04 * (std::exp(d) - d - 1)) / static_cast<double>(length);
      }
    }
    const PolicyLoss loss = make("grpo")->loss(c);
    CHECK(loss.weight == 4);
    CHECK(loss.sum.item<double>() == Approx(expected));
  }
  // Under the weights of the rollout it is REINFORCE with the mean over tokens, and what has not left the reference costs nothing.
  ScoredCandidates c = some(7);
  c.old_logprobs = c.reference_logprobs = c.logprobs.detach();
  make("grpo")->loss(c).sum.backward();
  const at::Tensor lengths = at::tensor(c.lengths, at::kLong).to(at::kDouble);
  CHECK(difference(c.logprobs.grad(), -spread_to_tokens(c.advantages / lengths, c.lengths)) < 1e-12);
  c = some(7, false);
  CHECK(make("grpo")->loss(c).sum.isfinite().item<bool>());
}

TEST_CASE("the weight of a loss is known before it is computed", "[rl]") {
  for (const std::string& name : Registry<AlgorithmType>::instance().names()) {
    CAPTURE(name);
    ScoredCandidates c = some(3);
    if (name == "ppo") c.advantages = normals({10}, 1, at::kDouble);
    CHECK(make(name)->weight_of(2, 4, 10) == make(name)->loss(c).weight);
  }
  CHECK(make("esrl", {{"loss", "mrt"}})->weight_of(2, 4, 10) == make("esrl", {{"loss", "mrt"}})->loss(some(3)).weight);
}

TEST_CASE("every algorithm of lib/rl is in the registry, and nothing else is", "[registration]") {
  const std::vector<std::string> in_source = names_in_source(fs::path(__FILE__).parent_path() / "../../../lib/rl", "AlgorithmType");
  const std::vector<std::string> names = Registry<AlgorithmType>::instance().names();
  CHECK(in_source == names);
  CHECK(names == std::vector<std::string>{"esrl", "grpo", "mrt", "ppo", "reinforce"});
  for (const std::string& name : names) {
    CHECK(list_algorithms().find(Registry<AlgorithmType>::instance().get(name).paper) != std::string::npos);
    RolloutDefaults defaults;
    make(name)->set_defaults(defaults);
    defaults.dynamic.check();
    defaults.advantage.check();
  }
}
