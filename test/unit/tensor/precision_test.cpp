// Products of training in bfloat16.
#include "loss/cross_entropy.h"
#include "tensor/bfloat16.h"
#include "tensor/linear.h"
#include "tensor/runtime.h"
#include "tensors.h"

using namespace seqmill;
using namespace seqmill::test;

namespace {

struct InBFloat16 : WithPrecision {
  InBFloat16() : WithPrecision(tensor::Precision::kBFloat16) {}
};

at::Tensor rounded(const at::Tensor& x) { return x.detach().to(at::kBFloat16).to(at::kDouble); }

}  // namespace

TEST_CASE("to_bfloat16 rounds as LibTorch does", "[precision]") {
  const at::Tensor x = normals({70, 33}, 1) * 100;
  CHECK(same_bits(tensor::to_bfloat16(x), x.to(at::kBFloat16)));
}

TEST_CASE("linear in bfloat16 is linear of rounded factors", "[precision]") {
  if (!kernel::has_bfloat16()) return;
  const InBFloat16 scope;
  const at::Tensor x = leaf(normals({37, 20}, 1)), weight = leaf(normals({15, 20}, 2)), bias = leaf(normals({15}, 3));
  const at::Tensor upper = normals({37, 15}, 4);
  const at::Tensor out = tensor::linear(x, weight, bias);
  CHECK(difference(out, at::linear(rounded(x), rounded(weight), bias.detach().to(at::kDouble))) < 1e-5);
  (out * upper).sum().backward();
  CHECK(difference(x.grad(), rounded(upper).mm(rounded(weight))) < 1e-5);
  CHECK(difference(weight.grad(), rounded(upper).t().mm(rounded(x))) < 2e-5);
  CHECK(difference(bias.grad(), upper.to(at::kDouble).sum(0)) < 1e-5);
}

TEST_CASE("without gradients products stay float32", "[precision]") {
  const InBFloat16 scope;
  at::NoGradGuard no_grad;
  const at::Tensor x = normals({24, 20}, 1), weight = normals({15, 20}, 2);
  CHECK(difference(tensor::linear(x, weight), at::linear(x.to(at::kDouble), weight.to(at::kDouble))) < 1e-5);
}

TEST_CASE("the loss and its gradients in bfloat16 are close to those in float32", "[precision]") {
  if (!kernel::has_bfloat16()) return;
  const at::Tensor target = at::arange(900, at::kLong).remainder(31);
  const auto gradients = [&] {
    const at::Tensor hidden = leaf(normals({900, 12}, 1)), weight = leaf(normals({31, 12}, 2)), bias = leaf(normals({31}, 3));
    loss::label_smoothed_cross_entropy(hidden, weight, bias, target, 0.1).sum.backward();
    return std::vector<at::Tensor>{hidden.grad(), weight.grad(), bias.grad()};
  };
  const std::vector<at::Tensor> exact = gradients();
  const InBFloat16 scope;
  const std::vector<at::Tensor> small = gradients();
  for (size_t i = 0; i < exact.size(); ++i) {
    CAPTURE(i);
    const double norm = exact[i].norm().item<double>();
    CHECK((small[i] - exact[i]).norm().item<double>() < 0.01 * norm);
    CHECK_FALSE(same_bits(small[i], exact[i]));
  }
}

TEST_CASE("names of precisions", "[precision]") {
  CHECK(tensor::parse_precision("fp32") == tensor::Precision::kFloat32);
  const bool has = kernel::has_bfloat16();
  CHECK((tensor::parse_precision("auto") == tensor::Precision::kBFloat16) == has);
  if (has) {
    CHECK(tensor::parse_precision("bf16") == tensor::Precision::kBFloat16);
  } else {
    CHECK_THROWS_WITH(tensor::parse_precision("bf16"), Catch::Contains("no bfloat16"));
  }
}
