#include "tensor/rotary.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::test;

namespace {

at::Tensor positions(std::vector<int64_t> values) { return at::tensor(values, at::kLong); }

/// Wavelengths from one to 10,000 radians, as Su et al. have them.
at::Tensor table(int64_t half) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < half; ++i) frequencies.push_back(static_cast<float>(std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half))));
  return tensor::rotary_table(frequencies, 1001);
}

}  // namespace

TEST_CASE("rotation by hand", "[rotate]") {
  // Two parts of two heads of four columns: pairs are (0, 2) and (1, 3) of each head, turned by position and position / 100.
  const at::Tensor x = normals({3, 20}, 1), turned = tensor::rotate(x, positions({0, 1, 50}), table(2), 4);
  REQUIRE(turned.sizes() == x.sizes());
  const auto from = x.accessor<float, 2>(), to = turned.accessor<float, 2>();
  const double steps[] = {0, 1, 50};
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t block = 0; block < 4; ++block) {
      for (int64_t i = 0; i < 2; ++i) {
        const double angle = steps[r] * (i == 0 ? 1 : 0.01);
        const double a = static_cast<double>(from[r][4 * block + i]), b = static_cast<double>(from[r][4 * block + i + 2]);
        CHECK(to[r][4 * block + i] == Approx(a * std::cos(angle) - b * std::sin(angle)).margin(1e-5));
        CHECK(to[r][4 * block + i + 2] == Approx(b * std::cos(angle) + a * std::sin(angle)).margin(1e-5));
      }
    }
    for (int64_t c = 16; c < 20; ++c) CHECK(to[r][c] == from[r][c]);
  }
  CHECK(same_bits(turned.select(0, 0), x.select(0, 0)));
}

TEST_CASE("products of rotated rows depend on the distance alone", "[rotate]") {
  const at::Tensor q = normals({1, 16}, 1, at::kDouble), k = normals({1, 16}, 2, at::kDouble);
  const auto product = [&](int64_t at_q, int64_t at_k) {
    const at::Tensor turned = tensor::rotate(q, positions({at_q}), table(8), 1);
    return (turned * tensor::rotate(k, positions({at_k}), table(8), 1)).sum().item<double>();
  };
  for (const int64_t distance : {0, 1, 5, 30}) {
    for (const int64_t start : {1, 17, 400}) {
      CHECK(product(start + distance, start) == Approx(product(distance, 0)).margin(3e-4));
    }
  }
  CHECK(std::abs(product(5, 0) - product(0, 0)) > 1e-3);
  CHECK(std::abs(product(5, 0) - product(0, 5)) > 1e-3);
}

TEST_CASE("rotation keeps lengths, and its gradient is turned back", "[rotate]") {
  const at::Tensor x = leaf(normals({4, 12}, 1)), where = positions({3, 2, 9, 1000});
  const at::Tensor turned = tensor::rotate(x, where, table(2), 3);
  CHECK(difference(turned.norm(2, 1), x.norm(2, 1)) < 1e-5);
  // The gradient of half the squared length of an orthogonal map is its argument.
  (turned.square().sum() / 2).backward();
  CHECK(difference(x.grad(), x) < 1e-5);
}

TEST_CASE("the fast rotation and its gradient are the general ones", "[rotate]") {
  const at::Tensor values = normals({7, 40}, 3), where = positions({0, 999, 3, 3, 500, 1000, 1}), upper = normals({7, 40}, 4);
  const at::Tensor fast = leaf(values), wide = leaf(values.to(at::kDouble));
  const at::Tensor turned = tensor::rotate(fast, where, table(4), 3);
  const at::Tensor expected = tensor::rotate(wide, where, table(4), 3);
  CHECK(difference(turned.to(at::kDouble), expected) < 1e-5);
  turned.backward(upper);
  expected.backward(upper.to(at::kDouble));
  CHECK(difference(fast.grad().to(at::kDouble), wide.grad()) < 1e-5);
  CHECK_THROWS(tensor::rotate(fast, positions({0, 0, 0, 0, 0, 0, 1001}), table(4), 3));
}
