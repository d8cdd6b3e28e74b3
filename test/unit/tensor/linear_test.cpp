#include "tensor/linear.h"

#include <array>

#include "base/threads.h"
#include "kernel/gemm.h"
#include "tensor/feed_forward.h"
#include "tensor/runtime.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::test;
using tensor::Precision;

namespace {

struct Layer {
  Layer(int64_t rows, int64_t inputs, int64_t outputs, bool with_bias, at::ScalarType type = at::kFloat)
      : x(leaf(normals({rows, inputs}, 1), type)), weight(leaf(normals({outputs, inputs}, 2), type)) {
    if (with_bias) bias = leaf(normals({outputs}, 3), type);
  }
  at::Tensor x, weight, bias;
};

}  // namespace

TEST_CASE("linear and its gradients against LibTorch in double", "[linear]") {
  for (const bool with_bias : {false, true}) {
    for (const auto& [rows, inputs, outputs] :
         std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {1, 64, 10}, {5, 7, 3}, {24, 32, 48}, {301, 65, 130}}) {
      CAPTURE(with_bias, rows, inputs, outputs);
      const Layer fast(rows, inputs, outputs, with_bias), slow(rows, inputs, outputs, with_bias, at::kDouble);
      const at::Tensor upper = normals({rows, outputs}, 4);
      const at::Tensor y = tensor::linear(fast.x, fast.weight, fast.bias);
      const at::Tensor expected = at::linear(slow.x, slow.weight, slow.bias);
      CHECK(difference(y, expected) < 2e-5);
      (y * upper).sum().backward();
      (expected * upper).sum().backward();
      CHECK(difference(fast.x.grad(), slow.x.grad()) < 5e-5);
      CHECK(difference(fast.weight.grad(), slow.weight.grad()) < 5e-5);
      if (with_bias) CHECK(difference(fast.bias.grad(), slow.bias.grad()) < 5e-5);
      at::NoGradGuard no_grad;
      CHECK(difference(tensor::linear(fast.x, fast.weight, fast.bias), expected) < 2e-5);
    }
  }
}

TEST_CASE("the gradients of linear by finite differences", "[linear]") {
  const Layer layer(9, 6, 4, true);
  const auto value = [&] {
    return at::tanh(tensor::linear(layer.x, layer.weight, layer.bias).to(at::kDouble)).sum();
  };
  value().backward();
  for (const at::Tensor& x : {layer.x, layer.weight, layer.bias}) {
    check_gradient(x, [&] { return value().item<double>(); });
  }
}

TEST_CASE("only the gradients asked for are made", "[linear]") {
  const Layer layer(3, 4, 5, true);
  const at::Tensor x = layer.x.detach(), weight = layer.weight.detach();
  tensor::linear(layer.x, weight).sum().backward();
  CHECK(difference(layer.x.grad(), weight.sum(0).expand({3, 4})) < 1e-5);
  tensor::linear(x, layer.weight).sum().backward();
  CHECK(difference(layer.weight.grad(), x.sum(0).expand({5, 4})) < 1e-5);
  tensor::linear(x, weight, layer.bias).sum().backward();
  CHECK(difference(layer.bias.grad(), at::full({5}, 3.0)) < 1e-6);
  CHECK_FALSE(tensor::linear(x, weight, layer.bias.detach()).requires_grad());
}

TEST_CASE("gradients of an upper gradient with strides, and twice through one weight", "[linear]") {
  const Layer layer(6, 5, 5, false);
  tensor::linear(tensor::linear(layer.x, layer.weight), layer.weight).t().select(0, 2).sum().backward();
  const Layer slow(6, 5, 5, false, at::kDouble);
  at::linear(at::linear(slow.x, slow.weight), slow.weight).select(1, 2).sum().backward();
  CHECK(difference(layer.weight.grad(), slow.weight.grad()) < 1e-4);
  CHECK(difference(layer.x.grad(), slow.x.grad()) < 1e-4);
}

TEST_CASE("without gradients a row does not depend on the others", "[linear]") {
  at::NoGradGuard no_grad;
  for (const auto& [inputs, outputs] : std::vector<std::array<int64_t, 2>>{{64, 64}, {100, 33}, {512, 1}, {256, 1000}}) {
    const Layer layer(700, inputs, outputs, true);
    const at::Tensor all = tensor::linear(layer.x, layer.weight, layer.bias);
    for (const int64_t rows : {1, 2, 23, 24, 25, 100, 383}) {
      CAPTURE(inputs, outputs, rows);
      const at::Tensor part = layer.x.narrow(0, 700 - rows, rows);
      CHECK(same_bits(tensor::linear(part, layer.weight, layer.bias), all.narrow(0, 700 - rows, rows)));
    }
    at::Tensor poisoned = layer.x.narrow(0, 0, 30).clone();
    poisoned.select(0, 7).fill_(NAN);
    const at::Tensor result = tensor::linear(poisoned, layer.weight, layer.bias);
    CHECK(result.select(0, 7).isnan().all().item<bool>());
    CHECK(same_bits(result.narrow(0, 8, 22), all.narrow(0, 8, 22)));
  }
}

TEST_CASE("what the kernels do not take goes through LibTorch", "[linear]") {
  const Layer layer(6, 4, 3, true);
  const at::Tensor expected = at::linear(layer.x, layer.weight, layer.bias);
  const at::Tensor turned = layer.x.t().contiguous().t();
  REQUIRE_FALSE(turned.is_contiguous());
  CHECK(difference(tensor::linear(turned, layer.weight, layer.bias), expected) < 1e-6);
  CHECK(difference(tensor::linear(layer.x.view({2, 3, 4}), layer.weight, layer.bias).view({6, 3}), expected) < 1e-6);
  const Layer wide(6, 4, 3, true, at::kDouble);
  CHECK(tensor::linear(wide.x, wide.weight, wide.bias).scalar_type() == at::kDouble);
}

TEST_CASE("no rows", "[linear]") {
  at::NoGradGuard no_grad;
  const Layer layer(0, 4, 3, true);
  CHECK(tensor::linear(layer.x, layer.weight, layer.bias).sizes() == at::IntArrayRef({0, 3}));
}

TEST_CASE("a strided bias and a batch without rows", "[linear]") {
  const at::Tensor x = normals({6, 5}, 1), weight = leaf(normals({4, 5}, 2)), wide = normals({4, 2}, 3);
  const at::Tensor bias = wide.select(1, 0);
  CHECK(difference(tensor::linear(x, weight.detach(), bias), at::linear(x, weight.detach(), bias)) < 1e-5);
  CHECK(difference(tensor::linear(x, weight, bias), at::linear(x, weight.detach(), bias)) < 1e-5);
  const at::Tensor none = leaf(at::empty({0, 5}));
  tensor::linear(none, weight, bias.contiguous()).sum().backward();
  CHECK(weight.grad().abs().max().item<double>() == 0);
}

TEST_CASE("an epilogue is dropout and residual, forward and backward, in every precision", "[linear]") {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    if (precision == Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    const WithPrecision set(precision);
    for (const double probability : {0.0, 0.4}) {
      for (const bool with_residual : {false, true}) {
        for (const bool with_bias : {false, true}) {
          CAPTURE(tensor::name_of(precision), probability, with_residual, with_bias);
          const Layer fast(70, 12, 40, with_bias), slow(70, 12, 40, with_bias, at::kDouble);
          const at::Tensor residual = leaf(normals({70, 40}, 5)), exact = leaf(normals({70, 40}, 5), at::kDouble);
          tensor::DropoutStream stream(1, 1), same(1, 1);
          const at::Tensor mask = tensor::dropout(at::ones({70, 40}), probability, &same).to(at::kDouble);
          const at::Tensor out = tensor::linear(fast.x, fast.weight, fast.bias,
                                                {with_residual ? residual : at::Tensor(), probability, &stream});
          at::Tensor expected = at::linear(slow.x, slow.weight, slow.bias) * mask;
          if (with_residual) expected = expected + exact;
          const double tolerance = precision == Precision::kFloat32 ? 1e-5 : 1e-2;
          CHECK(relative(out, expected) < tolerance);
          const at::Tensor upper = normals({70, 40}, 6);
          out.backward(upper);
          expected.backward(upper.to(at::kDouble));
          CHECK(relative(fast.x.grad(), slow.x.grad()) < tolerance);
          CHECK(relative(fast.weight.grad(), slow.weight.grad()) < tolerance);
          if (with_bias) CHECK(relative(fast.bias.grad(), slow.bias.grad()) < 1e-5);
          if (with_residual) CHECK(difference(residual.grad(), upper) == 0);
          at::NoGradGuard no_grad;
          tensor::DropoutStream again(1, 1), for_general(1, 1), masks(1, 1);
          const tensor::Epilogue epilogue{with_residual ? residual : at::Tensor(), probability, &again};
          CHECK(relative(tensor::linear(fast.x, fast.weight, fast.bias, epilogue), expected) < 1e-5);
          // Other types have masks of their own.
          const at::Tensor by_torch = tensor::dropout(at::linear(slow.x, slow.weight, slow.bias), probability, &masks, with_residual ? exact : at::Tensor());
          CHECK(difference(tensor::linear(slow.x, slow.weight, slow.bias, {with_residual ? exact : at::Tensor(), probability, &for_general}), by_torch) < 1e-12);
        }
      }
    }
  }
}

TEST_CASE("residuals without gradient, alone with one, and twice the same tensor", "[linear]") {
  const Layer layer(9, 12, 12, true);
  const at::Tensor residual = normals({9, 12}, 5), weight = layer.weight.detach(), upper = normals({9, 12}, 6);
  tensor::linear(layer.x, layer.weight, layer.bias, {residual}).backward(upper);
  CHECK(difference(layer.x.grad(), upper.mm(weight)) < 1e-5);
  const at::Tensor alone = leaf(residual);
  tensor::linear(layer.x.detach(), weight, layer.bias.detach(), {alone}).backward(upper);
  CHECK(difference(alone.grad(), upper) == 0);
  const at::Tensor x = leaf(layer.x);
  tensor::linear(x, weight, {}, {x}).backward(upper);
  CHECK(difference(x.grad(), upper + upper.mm(weight)) < 1e-5);
  const at::Tensor turned = normals({12, 9}, 7).t();
  CHECK(difference(tensor::linear(layer.x, weight, {}, {turned}), at::linear(layer.x, weight) + turned) < 1e-5);
}

TEST_CASE("a residual of another shape is an error", "[linear]") {
  const Layer layer(9, 12, 10, true);
  for (const at::Tensor& residual : {normals({1, 10}, 1), normals({10}, 1), normals({9, 12}, 1), normals({10, 9}, 1)}) {
    CHECK_THROWS_WITH(tensor::linear(layer.x, layer.weight, layer.bias, {residual}), Catch::Contains("does not fit 9 x 10"));
    at::NoGradGuard no_grad;
    CHECK_THROWS_WITH(tensor::linear(layer.x, layer.weight, layer.bias, {residual}), Catch::Contains("does not fit 9 x 10"));
    CHECK_THROWS_WITH(tensor::dropout(normals({9, 10}, 2), 0, nullptr, residual), Catch::Contains("does not fit 9 x 10"));
  }
}

TEST_CASE("the parts that threads take of an epilogue do not show", "[linear]") {
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    if (precision == Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    const WithPrecision set(precision);
    CAPTURE(tensor::name_of(precision));
    const auto results = [](int count) {
      const int before = threads();
      set_threads(count);
      const Layer layer(600, 16, 512, true), down(600, 512, 16, true);
      const at::Tensor residual = leaf(normals({600, 512}, 5)), inner = leaf(normals({600, 16}, 6));
      tensor::DropoutStream stream(1, 1);
      const at::Tensor y = tensor::linear(layer.x, layer.weight, layer.bias, {residual, 0.3, &stream});
      const at::Tensor z = tensor::feed_forward(inner, {layer.weight, layer.bias, down.weight, down.bias}, "relu", 0.3, &stream, {inner, 0.3, &stream});
      y.backward(normals({600, 512}, 7));
      const std::vector<at::Tensor> first{y.detach(), layer.bias.grad().clone(), layer.weight.grad().clone()};
      layer.bias.mutable_grad().zero_();
      z.backward(normals({600, 16}, 8));
      set_threads(before);
      return std::vector<at::Tensor>{first[0], first[1], first[2], z.detach(), layer.bias.grad(), down.bias.grad(), inner.grad(), residual.grad()};
    };
    const std::vector<at::Tensor> one = results(1), three = results(3);
    for (size_t i = 0; i < one.size(); ++i) {
      CAPTURE(i);
      CHECK(relative(three[i], one[i]) < 1e-6);
    }
    // What is drawn and the order of the sums of biases are the same; products may differ in their last bits.
    CHECK(same_bits(three[1], one[1]));
    CHECK(same_bits(three[5], one[5]));
  }
}
