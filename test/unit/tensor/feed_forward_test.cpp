#include "tensor/feed_forward.h"

#include "kernel/gemm.h"
#include "tensor/embedding.h"
#include "tensor/linear.h"
#include "tensor/products.h"
#include "tensor/runtime.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::tensor;
using namespace seqmill::test;

namespace {

/// Numbers that bfloat16 can hold: rounding them as factors changes nothing, least of all the sign of a hidden unit.
at::Tensor exact_normals(std::vector<int64_t> sizes, uint64_t seed) { return normals(sizes, seed).to(at::kBFloat16).to(at::kFloat); }

FeedForwardWeights random_weights(int64_t dim, int64_t hidden, at::ScalarType type = at::kFloat) {
  return {leaf(exact_normals({hidden, dim}, 2), type), leaf(normals({hidden}, 3), type), leaf(exact_normals({dim, hidden}, 4) / 8, type),
          leaf(normals({dim}, 5), type)};
}

std::vector<at::Tensor> gradients_of(const at::Tensor& x, const FeedForwardWeights& w) {
  return {x.grad(), w.up.grad(), w.up_bias.grad(), w.down.grad(), w.down_bias.grad()};
}

}  // namespace

TEST_CASE("the fused feed-forward layer and its gradients against double", "[feed-forward]") {
  // 1100 rows are two slices.
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    if (precision == Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    const WithPrecision set(precision);
    const double tolerance = precision == Precision::kFloat32 ? 1e-5 : 1e-2;
    for (const int64_t rows : {1, 7, 512, 1100}) {
      for (const double probability : {0.0, 0.4}) {
        CAPTURE(name_of(precision), rows, probability);
        const at::Tensor x = leaf(exact_normals({rows, 12}, 1)), exact = leaf(exact_normals({rows, 12}, 1), at::kDouble);
        const FeedForwardWeights weights = random_weights(12, 40), doubles = random_weights(12, 40, at::kDouble);
        const at::Tensor residual = leaf(normals({rows, 12}, 8)), exact_residual = leaf(normals({rows, 12}, 8), at::kDouble);
        DropoutStream stream(1, 1), same(1, 1);
        const at::Tensor mask = dropout(at::ones({rows, 40}), probability, &same).to(at::kDouble);
        const at::Tensor epilogue_mask = dropout(at::ones({rows, 12}), probability, &same).to(at::kDouble);
        const at::Tensor upper = exact_normals({rows, 12}, 6);
        const at::Tensor out = feed_forward(x, weights, "relu", probability, &stream, {residual, probability, &stream});
        const at::Tensor expected =
            exact_residual +
            at::linear(at::relu(at::linear(exact, doubles.up, doubles.up_bias)) * mask, doubles.down, doubles.down_bias) * epilogue_mask;
        CHECK(relative(out, expected) < tolerance);
        out.backward(upper);
        expected.backward(upper.to(at::kDouble));
        const auto found = gradients_of(x, weights), wanted = gradients_of(exact, doubles);
        for (size_t i = 0; i < found.size(); ++i) {
          CAPTURE(i);
          CHECK(relative(found[i], wanted[i]) < tolerance);
        }
        CHECK(difference(residual.grad(), upper) == 0);
      }
    }
  }
}

TEST_CASE("gradients are added to those that are there", "[feed-forward]") {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    if (precision == Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    const WithPrecision set(precision);
    CAPTURE(name_of(precision));
    const at::Tensor x = leaf(normals({9, 12}, 1)), table = leaf(normals({5, 12}, 7));
    const at::Tensor tokens = at::tensor({4, 0, 4}, at::kLong), weight = leaf(normals({6, 12}, 8)), bias = leaf(normals({6}, 9));
    const FeedForwardWeights weights = random_weights(12, 40);
    const auto all = [&] {
      DropoutStream stream(1, 1);
      feed_forward(x, weights, "relu", 0.2, &stream, {x, 0.3, &stream}).sum().backward();
      embed(table, tokens, 3).sum().backward();
      linear(x, weight, bias, {{}, 0.3, &stream}).sum().backward();
      auto gradients = gradients_of(x, weights);
      gradients.insert(gradients.end(), {table.grad(), weight.grad(), bias.grad()});
      return gradients;
    };
    // The first time autograd stores them, the second time they are added in place.
    std::vector<at::Tensor> once;
    for (const at::Tensor& gradient : all()) once.push_back(gradient.clone());
    const std::vector<at::Tensor> twice = all();
    for (size_t i = 0; i < once.size(); ++i) {
      CAPTURE(i);
      CHECK(difference(twice[i], 2 * once[i]) < 1e-4);
    }
    CHECK(difference(once[5].select(0, 4), at::full({12}, 6.0)) == 0);
    CHECK(difference(once[5].select(0, 1), at::zeros({12})) == 0);
  }
}

TEST_CASE("an epilogue with GELU and without gradients", "[feed-forward]") {
  const at::Tensor x = normals({7, 12}, 1), residual = normals({7, 12}, 8);
  const FeedForwardWeights weights = random_weights(12, 40);
  for (const std::string activation : {"relu", "gelu"}) {
    const auto plain = [&] {
      const at::Tensor before = at::linear(x, weights.up, weights.up_bias);
      return at::linear(activation == "gelu" ? at::gelu(before) : at::relu(before), weights.down, weights.down_bias);
    };
    DropoutStream stream(1, 1), same(1, 1);
    const at::Tensor mask = dropout(at::ones({7, 12}), 0.4, &same);
    CHECK(difference(feed_forward(x, weights, activation, 0, nullptr, {residual, 0.4, &stream}), plain() * mask + residual) < 1e-4);
    at::NoGradGuard no_grad;
    CHECK(difference(feed_forward(x, weights, activation, 0, nullptr, {residual}), plain() + residual) < 1e-4);
  }
}

TEST_CASE("what is frozen gets no gradient", "[feed-forward]") {
  const at::Tensor x = normals({4, 12}, 1);
  FeedForwardWeights weights = random_weights(12, 40);
  weights.down = weights.down.detach();
  weights.up_bias = weights.up_bias.detach();
  feed_forward(x, weights, "relu", 0, nullptr).sum().backward();
  CHECK(weights.up.grad().defined());
  CHECK(weights.down_bias.grad().defined());
  CHECK_FALSE(weights.down.grad().defined());
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("a token outside the vocabulary is an error", "[embedding]") {
  const at::Tensor table = normals({5, 2}, 1);
  for (const int64_t bad : {int64_t{-1}, int64_t{5}}) {
    CHECK_THROWS_WITH(embed(table, at::tensor({0L, bad}, at::kLong), 1), fmt::format("token {} is outside the vocabulary of 5", bad));
  }
}

TEST_CASE("the gated feed-forward layer and its gradients against double", "[feed-forward]") {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    if (precision == Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    const WithPrecision set(precision);
    const double tolerance = precision == Precision::kFloat32 ? 1e-5 : 1e-2;
    for (const int64_t rows : {1, 7, 1100}) {
      for (const double probability : {0.0, 0.4}) {
        CAPTURE(name_of(precision), rows, probability);
        const auto values = [](at::ScalarType type, int64_t count) {
          return std::vector<at::Tensor>{leaf(exact_normals({count, 12}, 1), type), leaf(exact_normals({80, 12}, 2), type), leaf(exact_normals({12, 40}, 4) / 8, type),
                                         leaf(normals({count, 12}, 8), type)};
        };
        const std::vector<at::Tensor> fast = values(at::kFloat, rows), exact = values(at::kDouble, rows);
        DropoutStream stream(1, 1), same(1, 1);
        const at::Tensor mask = dropout(at::ones({rows, 40}), probability, &same).to(at::kDouble);
        const at::Tensor epilogue_mask = dropout(at::ones({rows, 12}), probability, &same).to(at::kDouble);
        const at::Tensor out = gated_feed_forward(fast[0], fast[1], fast[2], probability, &stream, {fast[3], probability, &stream});
        const at::Tensor before = at::linear(exact[0], exact[1]);
        const at::Tensor hidden = at::silu(before.narrow(1, 0, 40)) * before.narrow(1, 40, 40);
        const at::Tensor expected = exact[3] + at::linear(hidden * mask, exact[2]) * epilogue_mask;
        CHECK(relative(out, expected) < tolerance);
        const at::Tensor upper = exact_normals({rows, 12}, 6);
        out.backward(upper);
        expected.backward(upper.to(at::kDouble));
        for (size_t i = 0; i < fast.size(); ++i) {
          CAPTURE(i);
          CHECK(relative(fast[i].grad(), exact[i].grad()) < tolerance);
        }
      }
    }
  }
  // Without gradients, in another type, and the units alone.
  const at::Tensor x = normals({9, 12}, 1), gates = normals({80, 12}, 2), down = normals({12, 40}, 3);
  const at::Tensor wide = gated_feed_forward(x.to(at::kDouble), gates.to(at::kDouble), down.to(at::kDouble), 0, nullptr);
  CHECK(relative(gated_feed_forward(x, gates, down, 0, nullptr), wide) < 1e-5);
  const at::Tensor units = leaf(normals({9, 80}, 5)), doubles = leaf(normals({9, 80}, 5), at::kDouble), above = normals({9, 40}, 6);
  swiglu(units).backward(above);
  swiglu(doubles).backward(above.to(at::kDouble));
  CHECK(relative(units.grad(), doubles.grad()) < 1e-5);
}
