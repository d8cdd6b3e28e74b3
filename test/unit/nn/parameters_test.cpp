#include "nn/parameters.h"

#include "support/files.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::nn;
using namespace seqmill::test;

TEST_CASE("initial values depend on the seed and the name alone", "[parameters]") {
  Parameters one(7), two(7), other(8);
  const at::Tensor a = one.add("a", {3, 4}, Init::normal(1), true), b = one.add("b", {3, 4}, Init::normal(1), true);
  two.add("something else", {100}, Init::xavier(3, 3), false);
  CHECK(same_bits(two.add("b", {3, 4}, Init::normal(1), false), b));
  CHECK(same_bits(two.add("a", {3, 4}, Init::normal(1), true), a));
  CHECK_FALSE(same_bits(a, b));
  CHECK_FALSE(same_bits(other.add("a", {3, 4}, Init::normal(1), true), a));
}

TEST_CASE("initial values are distributed as asked for", "[parameters]") {
  Parameters parameters(1);
  const at::Tensor uniform = parameters.add("u", {200, 100}, Init::xavier(200, 100), true);
  const double half_width = std::sqrt(6.0 / 300);
  CHECK(uniform.abs().max().item<double>() <= half_width);
  CHECK(uniform.abs().max().item<double>() > 0.99 * half_width);
  CHECK(std::abs(uniform.mean().item<double>()) < 0.02 * half_width);
  CHECK(uniform.std().item<double>() == Approx(half_width / std::sqrt(3)).epsilon(0.02));
  const at::Tensor normal = parameters.add("n", {20000}, Init::normal(0.5), false);
  CHECK(std::abs(normal.mean().item<double>()) < 0.02);
  CHECK(normal.std().item<double>() == Approx(0.5).epsilon(0.03));
  CHECK(normal.abs().max().item<double>() > 1.5);
  CHECK(same_bits(parameters.add("c", {5}, Init::constant(0.25), false), at::full({5}, 0.25)));
}

TEST_CASE("parameters are kept in order with their flags", "[parameters]") {
  Parameters parameters(1);
  const Scope root(parameters), layer = root / "encoder" / "0";
  layer.matrix("weight", 2, 3);
  layer.parameter("bias", {2}, Init::constant(0));
  root.matrix("top", 4, 1);
  REQUIRE(parameters.all().size() == 3);
  CHECK(parameters.all()[0].name == "encoder.0.weight");
  CHECK(parameters.all()[1].name == "encoder.0.bias");
  CHECK(parameters.all()[2].name == "top");
  CHECK((parameters.all()[0].decays && !parameters.all()[1].decays && parameters.all()[2].decays));
  CHECK(parameters.all()[0].value.sizes() == at::IntArrayRef({2, 3}));
  CHECK(parameters.all()[0].value.abs().max().item<double>() <= std::sqrt(6.0 / 5));
  CHECK(parameters.count() == 12);
  for (const Parameter& parameter : parameters.all()) CHECK(parameter.value.requires_grad());
}

TEST_CASE("a name is declared once", "[parameters]") {
  Parameters parameters(1);
  const Scope scope = Scope(parameters) / "layer";
  scope.matrix("weight", 2, 2);
  CHECK(failure_of([&] { scope.matrix("weight", 2, 2); }).says("layer.weight"));
  CHECK(failure_of([&] { parameters.add("layer.weight", {1}, Init::constant(0), false); }).says("twice"));
  CHECK(parameters.all().size() == 1);
}

TEST_CASE("flattening keeps values and what was handed out", "[parameters]") {
  Parameters parameters(1);
  const at::Tensor a = parameters.add("a", {2, 3}, Init::normal(1), true);
  const at::Tensor b = parameters.add("b", {4}, Init::normal(1), false);
  const at::Tensor before_a = a.detach().clone(), before_b = b.detach().clone();
  parameters.flatten();
  CHECK(same_bits(a, before_a));
  CHECK(same_bits(b, before_b));
  CHECK(same_bits(parameters.flat_values(), at::cat({before_a.view({6}), before_b})));
  CHECK(same_bits(parameters.flat_gradients(), at::zeros({10})));

  for (int i = 0; i < 2; ++i) ((a * 2).sum() + b.square().sum()).backward();
  const at::Tensor expected = at::cat({at::full({6}, 4.0), before_b * 4});
  CHECK(difference(parameters.flat_gradients(), expected) < 1e-6);
  CHECK(difference(a.grad(), at::full({2, 3}, 4.0)) < 1e-6);

  // A step on the flat vectors is a step of every tensor handed out.
  parameters.flat_values().add_(parameters.flat_gradients(), -1);
  parameters.flat_gradients().zero_();
  CHECK(difference(a, before_a - 4) < 1e-6);
  CHECK(difference(parameters.all()[1].value, before_b * -3) < 1e-5);
  CHECK_FALSE(b.grad().any().item<bool>());
  (a.square().sum()).backward();
  CHECK(difference(parameters.flat_gradients().narrow(0, 0, 6).view({2, 3}), a * 2) < 1e-5);
}

TEST_CASE("a model moves to another type as a whole", "[parameters]") {
  Parameters parameters(1);
  const at::Tensor a = parameters.add("a", {2, 3}, Init::normal(1), true), before = a.detach().clone();
  parameters.to(at::kCPU, at::kDouble);
  CHECK(same_bits(a, before.to(at::kDouble)));
  CHECK(a.requires_grad());
}

TEST_CASE("parameters that share their values have gradients of their own", "[parameters]") {
  Parameters one(1), other(std::nullopt);
  const at::Tensor a = Scope(one).matrix("a", 2, 3), b = Scope(one).parameter("b", {4}, Init::constant(2));
  const at::Tensor a2 = Scope(other).matrix("a", 2, 3), b2 = Scope(other).parameter("b", {4}, Init::constant(2));
  const at::Tensor start = a.detach().clone();
  CHECK(failure_of([&] { other.share(one); }).says("flattened"));
  one.flatten();
  other.share(one);
  CHECK((same_bits(a2.detach(), start) && same_bits(b2.detach(), at::full({4}, 2.0f))));
  one.flat_values().mul_(3);
  CHECK((same_bits(a2.detach(), a.detach()) && a2.data_ptr() == a.data_ptr() && b2.data_ptr() == b.data_ptr()));
  (a.sum() + b.sum()).backward();
  ((a2 * 5).sum() + b2.sum() * 7).backward();
  CHECK((same_bits(a.grad(), at::ones({2, 3})) && same_bits(a2.grad(), at::full({2, 3}, 5.0f))));
  CHECK((same_bits(one.flat_gradients(), at::ones({10})) && other.flat_gradients()[9].item<float>() == 7));
  Parameters shorter(std::nullopt), renamed(std::nullopt);
  Scope(shorter).matrix("a", 2, 3);
  Scope(renamed).matrix("a", 2, 3);
  Scope(renamed).parameter("c", {4}, Init::constant(0));
  CHECK(failure_of([&] { shorter.share(one); }).says("differ"));
  CHECK(failure_of([&] { renamed.share(one); }).says("differ"));
}
