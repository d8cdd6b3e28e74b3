#include "tensor/checkpoint.h"

#include "tensor/feed_forward.h"
#include "tensor/linear.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::tensor;
using namespace seqmill::test;

TEST_CASE("what is computed again has the same values, masks and gradients", "[checkpoint]") {
  std::vector<at::Tensor> results[2];
  for (const bool again : {false, true}) {
    const at::Tensor x = leaf(normals({9, 12}, 1)), gates = leaf(normals({80, 12}, 2) / 4), down = leaf(normals({12, 40}, 3) / 4), frozen = normals({12, 12}, 4) / 4;
    int calls = 0;
    DropoutStream stream(1, 1);
    const auto layer = [&](const at::Tensor& y, DropoutStream* masks) {
      ++calls;
      return gated_feed_forward(tensor::linear(y, frozen), gates, down, 0.3, masks, {y, 0.2, masks});
    };
    at::Tensor y = x;
    for (int i = 0; i < 2; ++i) y = again ? checkpoint(layer, y, &stream) : layer(y, &stream);
    y = dropout(y, 0.5, &stream);
    CHECK(calls == 2);
    y.sum().backward();
    CHECK(calls == (again ? 4 : 2));
    results[again] = {y.detach(), x.grad(), gates.grad(), down.grad()};
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    CAPTURE(i);
    CHECK(difference(results[1][i], results[0][i]) == 0);
  }
  // Without gradients nothing is kept for later.
  at::NoGradGuard no_grad;
  CHECK_FALSE(checkpoint([](const at::Tensor& y, DropoutStream*) { return y * 2; }, leaf(normals({2, 2}, 1)), nullptr).requires_grad());
}
