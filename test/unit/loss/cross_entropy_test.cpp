#include "loss/cross_entropy.h"

#include "kernel/gemm.h"
#include "tensor/runtime.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::loss;
using namespace seqmill::test;

namespace {

struct Problem {
  Problem(int64_t rows, int64_t dim, int64_t vocabulary, bool with_bias, at::ScalarType type = at::kFloat)
      : hidden(leaf(normals({rows, dim}, 1), type)), weight(leaf(normals({vocabulary, dim}, 2), type)) {
    if (with_bias) bias = leaf(normals({vocabulary}, 3), type);
    Rng rng(4, "test");
    target = at::empty({rows}, at::kLong);
    for (int64_t i = 0; i < rows; ++i) {
      target.data_ptr<int64_t>()[i] = static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocabulary)));
    }
  }
  TokenLoss loss(double smoothing) const { return label_smoothed_cross_entropy(hidden, weight, bias, target, smoothing); }
  at::Tensor hidden, weight, bias, target;
};

/// By the definition: -sum over rows and tokens of (target distribution) * log p.
at::Tensor by_definition(const Problem& p, double smoothing) {
  const at::Tensor log_probs = at::log_softmax(at::linear(p.hidden, p.weight, p.bias), 1);
  at::Tensor wanted = at::full(log_probs.sizes(), smoothing / static_cast<double>(p.weight.size(0)), at::kDouble);
  wanted.scatter_add_(1, p.target.unsqueeze(1), at::full({p.target.size(0), 1}, 1 - smoothing, at::kDouble));
  return -(wanted * log_probs).sum();
}

double scale_of(const at::Tensor& x) { return 1 + x.detach().abs().max().item<double>(); }

}  // namespace

TEST_CASE("label smoothing by hand", "[loss]") {
  // Probabilities 1/8, 2/8, 5/8 in the first row, 1/3 each in the second.
  const at::Tensor logs = at::log(at::tensor({1.0, 2.0, 5.0})).to(at::kFloat);
  const at::Tensor target = at::tensor({2, 0}, at::kLong);
  const double nll = std::log(1.6) + std::log(3);
  const double smoothed = 0.7 * std::log(1.6) + 0.1 * (std::log(8) + std::log(4) + std::log(1.6)) + std::log(3);
  at::NoGradGuard no_grad;
  const at::Tensor weight = logs.view({3, 1}), hidden = at::tensor({1.0f, 0.0f}).view({2, 1});
  TokenLoss loss = label_smoothed_cross_entropy(hidden, weight, {}, target, 0.3);
  CHECK(loss.sum.item<double>() == Approx(smoothed));
  CHECK(loss.nll_sum == Approx(nll));
  loss = label_smoothed_cross_entropy(hidden - 1, weight, logs, target, 0.0);
  CHECK(loss.sum.item<double>() == Approx(nll));
  CHECK(loss.nll_sum == Approx(nll));
}

TEST_CASE("loss and gradients against the definition in double", "[loss]") {
  for (const int64_t rows : {1, 5, 24, 383, 384, 385, 900}) {
    for (const bool with_bias : {false, true}) {
      for (const double smoothing : {0.0, 0.1}) {
        CAPTURE(rows, with_bias, smoothing);
        const Problem fast(rows, 12, 31, with_bias), slow(rows, 12, 31, with_bias, at::kDouble);
        const TokenLoss loss = fast.loss(smoothing);
        const at::Tensor expected = by_definition(slow, smoothing);
        CHECK(loss.sum.item<double>() == Approx(expected.item<double>()).epsilon(1e-6));
        CHECK(loss.nll_sum == Approx(by_definition(slow, 0).item<double>()).epsilon(1e-6));
        (loss.sum * 0.25).backward();
        (expected * 0.25).backward();
        CHECK(difference(fast.hidden.grad(), slow.hidden.grad()) < 1e-6 * scale_of(slow.hidden.grad()));
        CHECK(difference(fast.weight.grad(), slow.weight.grad()) < 2e-6 * scale_of(slow.weight.grad()));
        if (with_bias) CHECK(difference(fast.bias.grad(), slow.bias.grad()) < 2e-6 * scale_of(slow.bias.grad()));
      }
    }
  }
}

TEST_CASE("the gradients of the loss by finite differences", "[loss]") {
  const Problem p(7, 5, 11, true);
  p.loss(0.1).sum.backward();
  for (const at::Tensor& x : {p.hidden, p.weight, p.bias}) {
    check_gradient(x, [&] { return p.loss(0.1).sum.item<double>(); });
  }
}

TEST_CASE("without gradients the loss is the same", "[loss]") {
  const Problem p(400, 8, 19, true);
  const TokenLoss with = p.loss(0.1);
  at::NoGradGuard no_grad;
  const TokenLoss without = p.loss(0.1);
  CHECK(with.sum.requires_grad());
  CHECK_FALSE(without.sum.requires_grad());
  CHECK(without.sum.item<double>() == Approx(with.sum.item<double>()).epsilon(1e-6));
  CHECK(without.nll_sum == Approx(with.nll_sum).epsilon(1e-6));
}

TEST_CASE("other types go through LibTorch", "[loss]") {
  const Problem p(30, 6, 9, true, at::kDouble);
  const TokenLoss loss = p.loss(0.2);
  CHECK(loss.sum.item<double>() == Approx(by_definition(p, 0.2).item<double>()).epsilon(1e-12));
  CHECK(loss.nll_sum == Approx(by_definition(p, 0).item<double>()).epsilon(1e-12));
  loss.sum.backward();
  check_gradient(p.weight, [&] { return p.loss(0.2).sum.item<double>(); }, 1e-4);
}

TEST_CASE("a weight that is also used elsewhere gets the sum of its gradients", "[loss]") {
  const Problem p(20, 6, 9, false), slow(20, 6, 9, false, at::kDouble);
  (p.loss(0.1).sum + p.weight.square().sum()).backward();
  (by_definition(slow, 0.1) + slow.weight.square().sum()).backward();
  CHECK(difference(p.weight.grad(), slow.weight.grad()) < 1e-5);
}

TEST_CASE("no tokens cost nothing", "[loss]") {
  at::NoGradGuard no_grad;
  const Problem p(0, 6, 9, true);
  CHECK(p.loss(0.1).sum.item<double>() == 0);
  CHECK(p.loss(0.1).nll_sum == 0);
  CHECK(token_nll(p.hidden, p.weight, p.bias, p.target).sizes() == at::IntArrayRef({0}));
}

TEST_CASE("the nll of each token", "[loss]") {
  const Problem p(500, 12, 31, true), slow(500, 12, 31, true, at::kDouble);
  const at::Tensor nll = token_nll(p.hidden, p.weight, p.bias, p.target);
  const at::Tensor log_probs = at::log_softmax(at::linear(slow.hidden, slow.weight, slow.bias), 1);
  CHECK(difference(nll, -log_probs.gather(1, p.target.unsqueeze(1)).squeeze(1)) < 1e-5);
  CHECK_FALSE(nll.requires_grad());
  CHECK(nll.sum().item<double>() == Approx(p.loss(0.1).nll_sum).epsilon(1e-6));
}

TEST_CASE("strided bias, no tokens, and targets outside the vocabulary", "[loss]") {
  const Problem p(7, 12, 31, false);
  const at::Tensor wide = normals({31, 2}, 9), bias = wide.select(1, 1);
  at::NoGradGuard no_grad;
  const TokenLoss strided = label_smoothed_cross_entropy(p.hidden, p.weight, bias, p.target, 0.1);
  CHECK(strided.nll_sum == Approx(label_smoothed_cross_entropy(p.hidden, p.weight, bias.contiguous(), p.target, 0.1).nll_sum));
  for (const int64_t wrong : {-1, 31}) {
    at::Tensor target = p.target.clone();
    target.data_ptr<int64_t>()[3] = wrong;
    CHECK_THROWS_WITH(label_smoothed_cross_entropy(p.hidden, p.weight, {}, target, 0.1), Catch::Contains("outside the vocabulary of 31"));
  }
  CHECK_THROWS_WITH(label_smoothed_cross_entropy(p.hidden, p.weight, {}, p.target.narrow(0, 0, 6), 0.1),
                    Catch::Contains("one int64 target for each of 7 rows"));
}

TEST_CASE("the loss in bfloat16 is that of rounded factors", "[loss]") {
  if (!kernel::has_bfloat16()) return;
  for (const int64_t rows : {1, 192, 500}) {
    CAPTURE(rows);
    const Problem small(rows, 12, 31, true);
    Problem exact(rows, 12, 31, true, at::kDouble);
    for (at::Tensor* factor : {&exact.hidden, &exact.weight}) *factor = leaf(factor->detach().to(at::kBFloat16), at::kDouble);
    TokenLoss loss;
    {
      const WithPrecision set(tensor::Precision::kBFloat16);
      loss = small.loss(0.1);
      loss.sum.backward();
    }
    const at::Tensor expected = by_definition(exact, 0.1);
    CHECK(loss.sum.item<double>() == Approx(expected.item<double>()).epsilon(1e-5));
    expected.backward();
    CHECK(relative(small.hidden.grad(), exact.hidden.grad()) < 1e-2);
    CHECK(relative(small.weight.grad(), exact.weight.grad()) < 1e-2);
    CHECK(relative(small.bias.grad(), exact.bias.grad()) < 1e-2);
  }
}

TEST_CASE("logits in several slices", "[loss]") {
  // Of 70000 pieces a slice holds 192 rows at most.
  for (const tensor::Precision precision : {tensor::Precision::kFloat32, tensor::Precision::kBFloat16}) {
    if (precision == tensor::Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    CAPTURE(tensor::name_of(precision));
    const WithPrecision set(precision);
    const Problem problem(200, 2, 70000, true), exact(200, 2, 70000, true, at::kDouble);
    const TokenLoss loss = problem.loss(0.1);
    const at::Tensor expected = by_definition(exact, 0.1);
    const bool small = precision == tensor::Precision::kBFloat16;
    CHECK(loss.sum.item<double>() == Approx(expected.item<double>()).epsilon(small ? 1e-3 : 1e-6));
    loss.sum.backward();
    expected.backward();
    CHECK(relative(problem.hidden.grad(), exact.hidden.grad()) < (small ? 2e-2 : 1e-4));
    CHECK(relative(problem.weight.grad(), exact.weight.grad()) < (small ? 2e-2 : 1e-5));
    CHECK(relative(problem.bias.grad(), exact.bias.grad()) < (small ? 2e-2 : 1e-5));
    at::NoGradGuard no_grad;
    CHECK(problem.loss(0.1).sum.item<double>() == Approx(expected.item<double>()).epsilon(1e-6));
    const at::Tensor nll = token_nll(problem.hidden, problem.weight, problem.bias, problem.target);
    CHECK(nll.sum().item<double>() == Approx(loss.nll_sum).epsilon(small ? 1e-3 : 1e-6));
  }
}

namespace {

/// By the definition: log p of each target.
at::Tensor logprobs_by_definition(const Problem& p) {
  return at::log_softmax(at::linear(p.hidden, p.weight, p.bias), 1).gather(1, p.target.unsqueeze(1)).squeeze(1);
}

at::Tensor logprobs(const Problem& p) { return token_logprobs(p.hidden, p.weight, p.bias, p.target); }

}  // namespace

TEST_CASE("log-probabilities of tokens and their gradients against the definition in double", "[loss]") {
  for (const int64_t rows : {1, 5, 24, 383, 385, 900}) {
    for (const bool with_bias : {false, true}) {
      CAPTURE(rows, with_bias);
      const Problem fast(rows, 12, 31, with_bias), slow(rows, 12, 31, with_bias, at::kDouble);
      const at::Tensor found = logprobs(fast), expected = logprobs_by_definition(slow), weights = normals({rows}, 8, at::kDouble);
      CHECK(difference(found, expected) < 1e-5);
      (found * weights.to(at::kFloat)).sum().backward();
      (expected * weights).sum().backward();
      CHECK(difference(fast.hidden.grad(), slow.hidden.grad()) < 2e-6 * scale_of(slow.hidden.grad()));
      CHECK(difference(fast.weight.grad(), slow.weight.grad()) < 4e-6 * scale_of(slow.weight.grad()));
      if (with_bias) CHECK(difference(fast.bias.grad(), slow.bias.grad()) < 4e-6 * scale_of(slow.bias.grad()));
    }
  }
}

TEST_CASE("the gradients of log-probabilities by finite differences", "[loss]") {
  const Problem p(7, 5, 11, true);
  const at::Tensor weights = normals({7}, 8);
  const auto value = [&] { return (logprobs(p) * weights).sum(); };
  value().backward();
  for (const at::Tensor& x : {p.hidden, p.weight, p.bias}) check_gradient(x, [&] { return value().item<double>(); });
}

TEST_CASE("log-probabilities are those of token_nll, and their sum that of the loss", "[loss]") {
  const Problem p(400, 8, 19, true), exact(400, 8, 19, true, at::kDouble), other(400, 8, 19, true);
  const at::Tensor found = logprobs(p);
  CHECK(found.requires_grad());
  CHECK(difference(found, -token_nll(p.hidden, p.weight, p.bias, p.target)) < 1e-5);
  CHECK(difference(logprobs(exact), logprobs_by_definition(exact)) < 1e-12);
  found.neg().sum().backward();
  other.loss(0).sum.backward();
  CHECK(difference(p.weight.grad(), other.weight.grad()) < 1e-5 * scale_of(other.weight.grad()));
  at::NoGradGuard no_grad;
  CHECK_FALSE(logprobs(p).requires_grad());
  CHECK(same_bits(logprobs(p), -token_nll(p.hidden, p.weight, p.bias, p.target)));
  const Problem none(0, 6, 9, true);
  CHECK(logprobs(none).sizes() == at::IntArrayRef({0}));
}

TEST_CASE("tokens that are worth nothing give no gradient, and each is weighed alone", "[loss]") {
  const Problem p(30, 6, 9, true), part(30, 6, 9, true);
  at::Tensor weights = at::zeros({30});
  weights[4] = 2;
  (logprobs(p) * weights).sum().backward();
  CHECK(p.hidden.grad().abs().sum(1).ne(0).sum().item<int64_t>() == 1);
  const auto row = [](const at::Tensor& x) { return x.narrow(0, 4, 1); };
  (token_logprobs(row(part.hidden), part.weight, part.bias, row(part.target)) * 2).sum().backward();
  for (const auto& [a, b] : {std::pair(p.hidden, part.hidden), std::pair(p.weight, part.weight), std::pair(p.bias, part.bias)}) {
    CHECK(difference(a.grad(), b.grad()) < 1e-6);
  }
}

TEST_CASE("log-probabilities in bfloat16, and in several slices", "[loss]") {
  for (const tensor::Precision precision : {tensor::Precision::kFloat32, tensor::Precision::kBFloat16}) {
    if (precision == tensor::Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    CAPTURE(tensor::name_of(precision));
    const WithPrecision set(precision);
    const bool small = precision == tensor::Precision::kBFloat16;
    const Problem problem(200, 2, 70000, true), exact(200, 2, 70000, true, at::kDouble);
    const at::Tensor found = logprobs(problem), expected = logprobs_by_definition(exact), weights = normals({200}, 8);
    CHECK(relative(found, expected) < (small ? 1e-3 : 1e-6));
    (found * weights).sum().backward();
    (expected * weights).sum().backward();
    CHECK(relative(problem.hidden.grad(), exact.hidden.grad()) < (small ? 2e-2 : 1e-4));
    CHECK(relative(problem.weight.grad(), exact.weight.grad()) < (small ? 2e-2 : 1e-5));
    CHECK(relative(problem.bias.grad(), exact.bias.grad()) < (small ? 2e-2 : 1e-5));
  }
}
