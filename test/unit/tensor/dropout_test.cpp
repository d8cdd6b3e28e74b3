#include "tensor/dropout.h"

#include "base/threads.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::test;
using tensor::DropoutStream;

namespace {

at::Tensor mask_of(DropoutStream stream, double probability, at::IntArrayRef shape) {
  return tensor::dropout(at::ones(shape), probability, &stream);
}

}  // namespace

TEST_CASE("evaluation is the identity", "[dropout]") {
  const at::Tensor x = normals({5, 7}, 1), residual = normals({5, 7}, 2);
  DropoutStream stream(1, 0);
  CHECK(same_bits(tensor::dropout(x, 0.5, nullptr), x));
  CHECK(same_bits(tensor::dropout(x, 0, &stream), x));
  CHECK(same_bits(tensor::dropout(x, 0.5, nullptr, residual), residual + x));
  CHECK(same_bits(tensor::dropout(x, 0, &stream, residual), residual + x));
}

TEST_CASE("masks follow from seed, update, micro-batch and call", "[dropout]") {
  const std::vector<int64_t> shape{40, 50};
  const at::Tensor mask = mask_of(DropoutStream(3, 7, 1), 0.25, shape);
  CHECK(same_bits(mask, mask_of(DropoutStream(3, 7, 1), 0.25, shape)));
  CHECK_FALSE(same_bits(mask, mask_of(DropoutStream(4, 7, 1), 0.25, shape)));
  CHECK_FALSE(same_bits(mask, mask_of(DropoutStream(3, 8, 1), 0.25, shape)));
  CHECK_FALSE(same_bits(mask, mask_of(DropoutStream(3, 7, 2), 0.25, shape)));
  CHECK_FALSE(same_bits(mask, mask_of(DropoutStream(3, 7, 1, 1), 0.25, shape)));
  CHECK(same_bits(mask, mask_of(DropoutStream(3, 7, 1, 0), 0.25, shape)));
  DropoutStream stream(3, 7, 1);
  CHECK(same_bits(tensor::dropout(at::ones(shape), 0.25, &stream), mask));
  CHECK_FALSE(same_bits(tensor::dropout(at::ones(shape), 0.25, &stream), mask));

  const double kept = mask.ne(0).sum().item<double>();
  CHECK(std::abs(kept - 1500) < 5 * std::sqrt(2000 * 0.25 * 0.75));
  CHECK(mask.max().item<double>() == Approx(1 / 0.75));
}

TEST_CASE("the number of threads changes no mask", "[dropout]") {
  set_threads(1);
  const at::Tensor alone = mask_of(DropoutStream(1, 1), 0.1, {999, 333});
  set_threads(3);
  CHECK(same_bits(mask_of(DropoutStream(1, 1), 0.1, {999, 333}), alone));
  set_threads(0);
}

TEST_CASE("the backward pass draws the mask of the forward pass", "[dropout]") {
  const at::Tensor mask = mask_of(DropoutStream(9, 2), 0.3, {31, 17});
  const at::Tensor values = normals({31, 17}, 1), upper = normals({31, 17}, 3);
  for (const bool with_residual : {false, true}) {
    CAPTURE(with_residual);
    const at::Tensor x = leaf(values), residual = leaf(normals({31, 17}, 2));
    DropoutStream stream(9, 2);
    const at::Tensor y = tensor::dropout(x, 0.3, &stream, with_residual ? residual : at::Tensor());
    CHECK(difference(y, values * mask + (with_residual ? residual : at::zeros({31, 17}))) < 1e-6);
    // Through a transposition, so that the upper gradient has strides.
    (y.t() * upper.t()).sum().backward();
    CHECK(difference(x.grad(), upper * mask) < 1e-6);
    if (with_residual) CHECK(same_bits(residual.grad(), upper));
  }
}

TEST_CASE("gradients reach only what asks for them", "[dropout]") {
  const at::Tensor x = normals({4, 4}, 1), residual = leaf(normals({4, 4}, 2));
  DropoutStream stream(1, 1);
  tensor::dropout(x, 0.5, &stream, residual).sum().backward();
  CHECK(same_bits(residual.grad(), at::ones({4, 4})));
  CHECK_FALSE(tensor::dropout(x, 0.5, &stream, x).requires_grad());
}

TEST_CASE("a residual that is the input itself gets both gradients", "[dropout]") {
  const at::Tensor mask = mask_of(DropoutStream(5, 5), 0.4, {6, 6}), x = leaf(normals({6, 6}, 1));
  DropoutStream stream(5, 5);
  tensor::dropout(x, 0.4, &stream, x).sum().backward();
  CHECK(difference(x.grad(), mask + 1) < 1e-6);
}

TEST_CASE("other types drop too", "[dropout]") {
  DropoutStream stream(1, 1);
  const at::Tensor y = tensor::dropout(at::ones({100, 100}, at::kDouble), 0.5, &stream, at::ones({100, 100}, at::kDouble));
  CHECK(y.scalar_type() == at::kDouble);
  CHECK((y.eq(1) + y.eq(3)).all().item<bool>());
  CHECK(std::abs(y.eq(1).sum().item<double>() - 5000) < 250);
}

TEST_CASE("other types draw their masks from the stream too", "[dropout]") {
  const at::Tensor x = at::ones({40, 50}, at::kDouble);
  const auto mask = [&](uint64_t update) {
    tensor::DropoutStream stream(1, update);
    return tensor::dropout(x, 0.3, &stream);
  };
  const at::Tensor first = mask(1);
  at::rand({10});  // somebody else's use of the generator shifts nothing
  CHECK(same_bits(first, mask(1)));
  CHECK_FALSE(same_bits(first, mask(2)));
  CHECK(first.mean().item<double>() == Approx(1).margin(0.1));
  tensor::DropoutStream stream(1, 1);
  const at::Tensor again = tensor::dropout(x, 0.3, &stream), other = tensor::dropout(x, 0.3, &stream);
  CHECK_FALSE(same_bits(again, other));
}
