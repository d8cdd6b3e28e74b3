#include "tensor/layer_norm.h"

#include "base/threads.h"
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

TEST_CASE("a normalisation has the same bits on any number of threads", "[layer-norm]") {
  const at::Tensor values = normals({900, 200}, 1), upper = normals({900, 200}, 2);
  std::vector<at::Tensor> first;
  for (const int threads : {1, 2, 3}) {
    set_threads(threads);
    const at::Tensor x = leaf(values), weight = leaf(normals({200}, 3)), bias = leaf(normals({200}, 4));
    const at::Tensor out = layer_norm(x, weight, bias);
    out.backward(upper);
    const std::vector<at::Tensor> results{out.detach(), x.grad(), weight.grad(), bias.grad()};
    if (first.empty()) first = results;
    for (size_t i = 0; i < results.size(); ++i) CHECK(same_bits(results[i], first[i]));
  }
  set_threads(0);
}

TEST_CASE("weights that do not fit the rows are an error", "[layer-norm]") {
  const at::Tensor x = normals({4, 8}, 1);
  for (const int64_t size : {1, 4, 16}) CHECK_THROWS(layer_norm(x, normals({size}, 2), normals({size}, 3)));
  CHECK_THROWS(layer_norm(x, normals({8}, 2), normals({4}, 3)));
}

TEST_CASE("a row that is no number stays alone, and no rows have no gradient", "[layer-norm]") {
  const at::Tensor weight = leaf(normals({12}, 2)), bias = leaf(normals({12}, 3));
  at::Tensor values = normals({6, 12}, 1);
  const at::Tensor clean = layer_norm(values, weight, bias);
  values[2][5] = NAN;
  const at::Tensor x = leaf(values), out = layer_norm(x, weight, bias);
  CHECK(out[2].isnan().all().item<bool>());
  for (const int64_t row : {0, 1, 3, 4, 5}) CHECK(same_bits(out[row].detach(), clean[row].detach()));
  out.sum().backward();
  CHECK(x.grad()[2].isnan().all().item<bool>());
  CHECK_FALSE(x.grad()[3].isnan().any().item<bool>());
  const at::Tensor none = leaf(at::empty({0, 12})), scale = leaf(normals({12}, 2));
  layer_norm(none, scale, bias).sum().backward();
  CHECK(none.grad().size(0) == 0);
  CHECK(scale.grad().abs().max().item<float>() == 0);
}

TEST_CASE("columns of a wider matrix are normalised like a copy of them", "[layer-norm]") {
  const at::Tensor wide = normals({5, 24}, 1), weight = normals({12}, 2), bias = normals({12}, 3);
  const at::Tensor part = wide.narrow(1, 6, 12);
  CHECK_FALSE(part.is_contiguous());
  CHECK(difference(layer_norm(part, weight, bias), layer_norm(part.contiguous(), weight, bias)) < 1e-6);
}

TEST_CASE("normalisation by the mean deviation and its gradients, fast and general", "[layer-norm]") {
  const tensor::NormKind l1 = tensor::NormKind::kL1;
  for (const auto& shape : std::vector<std::pair<int64_t, int64_t>>{{1, 2}, {7, 37}, {300, 64}}) {
    const int64_t rows = shape.first, columns = shape.second;
    CAPTURE(rows, columns);
    const at::Tensor values = normals({rows, columns}, 1) * 2, upper = normals({rows, columns}, 4), beside = normals({rows, columns}, 5);
    const auto typed = [&](at::ScalarType type) { return std::vector<at::Tensor>{leaf(values, type), leaf(normals({columns}, 2), type), leaf(normals({columns}, 3), type)}; };
    const std::vector<at::Tensor> fast = typed(at::kFloat), slow = typed(at::kDouble);
    const tensor::Normed out = layer_norm_with_residual(fast[0], fast[1], fast[2], l1), exact = layer_norm_with_residual(slow[0], slow[1], slow[2], l1);
    CHECK(difference(out.normed, exact.normed) < 1e-5);
    ((out.normed * upper).sum() + (out.residual * beside).sum()).backward();
    ((exact.normed * upper).sum() + (exact.residual * beside).sum()).backward();
    for (size_t i = 0; i < fast.size(); ++i) CHECK(relative(fast[i].grad(), slow[i].grad()) < 1e-4);
  }
  // What is added to a row changes nothing, nor does a positive factor, and for normally distributed rows it is what L2 gives.
  const at::Tensor x = normals({20, 256}, 1), weight = normals({256}, 2), bias = normals({256}, 3);
  const at::Tensor once = layer_norm(x, weight, bias, l1);
  CHECK(difference(layer_norm(x + 3, weight, bias, l1), once) < 1e-4);
  CHECK(difference(layer_norm(x * 4, weight, bias, l1), once) < 1e-4);
  CHECK(relative(once - bias, layer_norm(x, weight, bias) - bias) < 0.05);
  CHECK(difference(layer_norm(at::full({1, 256}, 7.0), weight, bias, l1)[0], bias) == 0);
}

TEST_CASE("the norm by the mean square and its gradients against double", "[layer-norm]") {
  const tensor::NormSettings settings{tensor::NormKind::kRms, 1e-3};
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{{1, 16}, {7, 37}, {300, 64}}) {
    CAPTURE(rows, columns);
    const at::Tensor x = leaf(normals({rows, columns}, 1)), weight = leaf(normals({columns}, 2));
    const at::Tensor exact = leaf(normals({rows, columns}, 1), at::kDouble), scale = leaf(normals({columns}, 2), at::kDouble);
    const at::Tensor upper = normals({rows, columns}, 4), beside = normals({rows, columns}, 5);
    const at::Tensor expected = exact / at::sqrt((exact * exact).mean(1, true) + 1e-3) * scale;
    const tensor::Normed out = layer_norm_with_residual(x, weight, {}, settings);
    CHECK(difference(out.normed, expected) < 1e-5);
    CHECK(difference(layer_norm(exact, scale, {}, settings), expected) < 1e-12);
    (expected * upper.to(at::kDouble)).sum().backward();
    ((out.normed * upper).sum() + (out.residual * beside).sum()).backward();
    CHECK(relative(x.grad(), exact.grad() + beside.to(at::kDouble)) < 1e-5);
    CHECK(relative(weight.grad(), scale.grad()) < 1e-5);
  }
  CHECK_THROWS(layer_norm(normals({2, 4}, 1), normals({4}, 2), normals({4}, 3), settings));
  CHECK_THROWS(layer_norm(normals({2, 4}, 1), normals({4}, 2), {}));
}
