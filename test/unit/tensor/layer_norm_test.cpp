#include "tensor/layer_norm.h"

#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::test;
using tensor::layer_norm;
using tensor::layer_norm_with_residual;

TEST_CASE("layer normalisation and its gradients against LibTorch in double", "[layer-norm]") {
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 16}, {7, 37}, {300, 64}}) {
    for (const double shift : {0.0, 30.0}) {
      CAPTURE(rows, columns, shift);
      const at::Tensor values = normals({rows, columns}, 1) * 2 + shift;
      const at::Tensor x = leaf(values), weight = leaf(normals({columns}, 2)), bias = leaf(normals({columns}, 3));
      const at::Tensor exact = leaf(values, at::kDouble), scale = leaf(normals({columns}, 2), at::kDouble), add = leaf(normals({columns}, 3), at::kDouble);
      const at::Tensor upper = normals({rows, columns}, 4), beside = normals({rows, columns}, 5);
      const at::Tensor expected = at::layer_norm(exact, {columns}, scale, add, 1e-5);
      expected.backward(upper.to(at::kDouble), true);
      const tensor::Normed out = layer_norm_with_residual(x, weight, bias);
      const double tolerance = shift == 0 ? 1e-5 : 1e-4;
      CHECK(difference(out.normed, expected) < tolerance * 10);
      CHECK(difference(out.residual, x) == 0);
      at::NoGradGuard no_grad;
      CHECK(same_bits(layer_norm(x, weight, bias), out.normed));
      {
        at::AutoGradMode with_gradients(true);
        ((out.normed * upper).sum() + (out.residual * beside).sum()).backward();
      }
      if (columns > 1) CHECK(relative(x.grad(), exact.grad() + beside.to(at::kDouble)) < tolerance);
      if (columns > 1) CHECK(relative(weight.grad(), scale.grad()) < tolerance);
      CHECK(relative(bias.grad(), add.grad()) < 1e-5);
    }
  }
}

TEST_CASE("either result of a normalisation may go unused, and what is frozen gets no gradient", "[layer-norm]") {
  const at::Tensor weight = normals({12}, 2), bias = normals({12}, 3), upper = normals({5, 12}, 4);
  const at::Tensor x = leaf(normals({5, 12}, 1)), slow = leaf(normals({5, 12}, 1), at::kDouble);
  layer_norm_with_residual(x, weight, bias).residual.backward(upper);
  CHECK(difference(x.grad(), upper) < 1e-7);
  const at::Tensor y = leaf(normals({5, 12}, 1));
  layer_norm_with_residual(y, weight, bias).normed.backward(upper);
  at::layer_norm(slow, {12}, weight.to(at::kDouble), bias.to(at::kDouble), 1e-5).backward(upper.to(at::kDouble));
  CHECK(difference(y.grad(), slow.grad()) < 1e-5);
  const at::Tensor only = leaf(weight), fixed = normals({5, 12}, 1);
  const tensor::Normed out = layer_norm_with_residual(fixed, only, bias);
  CHECK_FALSE(out.residual.requires_grad());
  out.normed.backward(upper);
  CHECK(only.grad().defined());
  // The second time it is added in place.
  const at::Tensor once = only.grad().clone();
  layer_norm(fixed, only, bias).backward(upper);
  CHECK(difference(only.grad(), 2 * once) < 1e-5);
}

TEST_CASE("normalised rows do not depend on the others, and other types go through LibTorch", "[layer-norm]") {
  const at::Tensor x = normals({50, 40}, 1), weight = normals({40}, 2), bias = normals({40}, 3);
  const at::Tensor all = layer_norm(x, weight, bias);
  CHECK(same_bits(layer_norm(x.narrow(0, 13, 7), weight, bias), all.narrow(0, 13, 7)));
  const at::Tensor wide = layer_norm(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
  CHECK(wide.scalar_type() == at::kDouble);
  CHECK(difference(wide, all) < 1e-5);
  CHECK(layer_norm(at::empty({0, 40}), weight, bias).size(0) == 0);
}
