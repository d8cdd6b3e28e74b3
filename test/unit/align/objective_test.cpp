#include "align/objective.h"

#include <cmath>

#include "align/judge_task.h"
#include "base/rng.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;

namespace {

at::Tensor doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble).requires_grad_(true); }

double log_sigma(double d) { return -std::log1p(std::exp(-d)); }

/// The gradient of the sum of f(x) at x.
template <typename Function>
at::Tensor gradient(at::Tensor x, Function f) {
  if (x.grad().defined()) x.mutable_grad() = at::Tensor();
  f(x).sum().backward();
  return x.grad();
}

}  // namespace

TEST_CASE("smoothed two-way cross-entropy is -log sigma(d) + eps d, and its slope sigma(d) - 1 + eps", "[align][gram]") {
  Rng rng(1, "objective");
  for (int i = 0; i < 200; ++i) {
    const double d = 4 * rng.normal(), eps = rng.uniform() / 2;
    const at::Tensor x = doubles({d});
    const double value = bradley_terry(x, eps).item<double>();
    CHECK(value == Approx(-(1 - eps) * log_sigma(d) - eps * log_sigma(-d)).margin(1e-9));
    CHECK(gradient(x, [&](const at::Tensor& y) { return bradley_terry(y, eps); }).item<double>() == Approx(1 / (1 + std::exp(-d)) - 1 + eps).margin(1e-9));
  }
  // The minimum, and what is left there: the entropy of eps.
  for (const double eps : {0.05, 0.1, 0.3}) {
    const double best = std::log((1 - eps) / eps);
    CHECK(gradient(doubles({best}), [&](const at::Tensor& y) { return bradley_terry(y, eps); }).item<double>() == Approx(0).margin(1e-12));
    CHECK(bradley_terry(doubles({best}), eps).item<double>() == Approx(-eps * std::log(eps) - (1 - eps) * std::log(1 - eps)));
  }
  CHECK(std::log(0.9 / 0.1) == Approx(2.197).margin(1e-3));
}

TEST_CASE("label smoothing of libraries is twice the eps of the paper", "[align][gram]") {
  Rng rng(2, "objective");
  for (int i = 0; i < 50; ++i) {
    const at::Tensor logits = at::tensor({3 * rng.normal(), 3 * rng.normal()}, at::kDouble).view({1, 2}), target = at::tensor({0}, at::kLong);
    const double alpha = 0.05 + rng.uniform() * 0.9, library = at::cross_entropy_loss(logits, target, {}, at::Reduction::Mean, -100, alpha).item<double>();
    const at::Tensor d = logits.select(1, 0) - logits.select(1, 1);
    CHECK(bradley_terry(d, alpha / 2).item<double>() == Approx(library).margin(1e-9));
    Smoothing smoothing;
    smoothing.alpha = alpha;
    CHECK(smoothing.weight() == alpha / 2);
    if (std::fabs(d.item<double>()) > 0.1) CHECK(std::fabs(bradley_terry(d, alpha).item<double>() - library) > 1e-4);
  }
  Smoothing both{0.1, 0.1};
  CHECK_THROWS_WITH(both.check(), Catch::Contains("not both"));
}

TEST_CASE("over the vocabulary the judge's loss is larger by -log of what both labels have of it", "[align][gram]") {
  const at::Tensor logits = normals({20, 7}, 3).to(at::kDouble), log_p = at::log_softmax(logits, 1);
  for (const double eps : {0.0, 0.1}) {
    const at::Tensor d = logits.select(1, 2) - logits.select(1, 5);  // label 2 is right, 5 is not
    const at::Tensor full = judge_losses(d, -log_p.select(1, 2), eps), two_way = judge_losses(d, {}, eps);
    CHECK(difference(full, -(1 - eps) * log_p.select(1, 2) - eps * log_p.select(1, 5)) < 1e-9);
    CHECK(difference(full - two_way, -at::log(log_p.select(1, 2).exp() + log_p.select(1, 5).exp())) < 1e-9);
  }
}

TEST_CASE("gradient descent on one pair ends where smoothing says, not at infinity", "[align][gram]") {
  at::Tensor d = doubles({0.0});
  for (int i = 0; i < 4000; ++i) {
    const at::Tensor slope = gradient(d, [](const at::Tensor& y) { return bradley_terry(y, 0.1); });
    d = (d.detach() - slope).requires_grad_(true);
  }
  CHECK(d.item<double>() == Approx(std::log(9.0)).margin(1e-4));
}

TEST_CASE("a margin moves the loss", "[align]") {
  const at::Tensor d = doubles({1.0, -2.0, 0.5}), m = at::tensor({0.0, 1.0, 0.5}, at::kDouble);
  const at::Tensor loss = bradley_terry_with_margin(d, m);
  CHECK(loss[0].item<double>() == Approx(-log_sigma(1.0)));
  CHECK(loss[1].item<double>() == Approx(-log_sigma(-3.0)));
  CHECK(loss[2].item<double>() == Approx(std::log(2.0)));
}

TEST_CASE("the likelihood of a ranking", "[align]") {
  // By hand: the best of three first, then the better of the rest.
  const at::Tensor scores = doubles({0.3, 1.2, -0.7});
  const double all = std::exp(0.3) + std::exp(1.2) + std::exp(-0.7), rest = std::exp(0.3) + std::exp(-0.7);
  CHECK(plackett_luce(scores, {2, 3, 1}).item<double>() == Approx(-std::log(std::exp(1.2) / all) - std::log(std::exp(0.3) / rest)));
  // Of two answers it is Bradley and Terry's, and the order of the list is of no matter.
  CHECK(plackett_luce(doubles({0.3, 1.2}), {0, 1}).item<double>() == Approx(bradley_terry(doubles({0.9}), 0).item<double>()));
  CHECK(plackett_luce(doubles({1.2, -0.7, 0.3}), {3, 1, 2}).item<double>() == Approx(plackett_luce(scores, {2, 3, 1}).item<double>()));
  // The probabilities of all rankings sum to one.
  double sum = 0;
  std::vector<double> merits{1, 2, 3};
  do sum += std::exp(-plackett_luce(scores, merits).item<double>());
  while (std::next_permutation(merits.begin(), merits.end()));
  CHECK(sum == Approx(1));
  // Equals are not compared with each other, only with what is worse.
  CHECK(plackett_luce(scores, {1, 1, 1}).item<double>() == 0);
  CHECK(plackett_luce(scores, {1, 1, 0}).item<double>() == Approx(bradley_terry(doubles({0.3 + 0.7, 1.2 + 0.7}), 0).sum().item<double>()));
}

TEST_CASE("squared errors of the labels that are there", "[align]") {
  const double nan = std::nan("");
  const at::Tensor scores = at::tensor({1.0, 2.0, 3.0, 4.0}, at::kDouble).view({2, 2}).requires_grad_(true), labels = at::tensor({0.0, nan, nan, 6.0}, at::kDouble).view({2, 2});
  CHECK(masked_squared_error(scores, labels).item<double>() == Approx(2.5));
  const at::Tensor slope = gradient(scores, [&](const at::Tensor& x) { return masked_squared_error(x, labels); });
  CHECK(difference(slope, at::tensor({1.0, 0.0, 0.0, -2.0}, at::kDouble).view({2, 2})) < 1e-12);
  CHECK(masked_squared_error(scores, at::full({2, 2}, nan, at::kDouble)).item<double>() == 0);
}

TEST_CASE("every comparison counts once, however many pairs it has", "[align]") {
  ScoredBatch batch;
  batch.scores = doubles({1.0, 0.0, 3.0, 2.0, 0.5}).view({5, 1});
  batch.counts = {2, 3};
  Judged two, three;
  two.merits = {1, 0};
  two.pairs = {{0, 1, 1}};
  three.merits = {1, 0, 0};
  three.pairs = {{0, 1, 1}, {0, 2, 1}};
  batch.judged = {&two, &three};
  const auto objective = Registry<ObjectiveType>::instance().get("bradley-terry").make();
  const at::Tensor losses = objective->losses(batch);
  REQUIRE(losses.size(0) == 2);
  CHECK(losses[0].item<double>() == Approx(-log_sigma(1.0)));
  CHECK(losses[1].item<double>() == Approx((-log_sigma(1.0) - log_sigma(2.5)) / 2));
}

TEST_CASE("all objectives are registered", "[align]") {
  CHECK(Registry<ObjectiveType>::instance().names() == std::vector<std::string>{"bradley-terry", "list", "margin", "regression"});
}
