#pragma once
// Dropout from counter-based random numbers: masks are functions of (seed, update, call, element), so they need no storage and no
// state in a checkpoint, and a resumed run draws the same ones.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "base/rng.h"
#include "kernel/float_kernels.h"

namespace seqmill::tensor {

/// Hands out one mask after another for one update (or one micro-batch of it, or one part of that).
class DropoutStream {
 public:
  DropoutStream(uint64_t seed, uint64_t update, uint64_t micro_batch = 0, uint64_t part = 0)
      : rng_(seed, part == 0 ? "dropout" : "dropout/" + std::to_string(part), (update << 20) + micro_batch) {}
  kernel::DropoutMask next(double probability) { return {rng_.next(), static_cast<float>(probability)}; }

 private:
  Rng rng_;
};

/// The next mask of the stream; that of no dropout when `stream` is null (evaluation) or the probability 0.
inline kernel::DropoutMask next_mask(DropoutStream* stream, double probability) {
  return stream && probability > 0 ? stream->next(probability) : kernel::DropoutMask();
}

/// What becomes of the result of a product: residual + dropout(result). The residual may be undefined, else it has the result's shape; `stream`
/// null or probability 0: no dropout.
struct Epilogue {
  at::Tensor residual;
  double probability = 0;
  DropoutStream* stream = nullptr;
};

/// x with dropout, plus `residual` when it is defined; both of one shape. `stream` null (evaluation) or probability 0: no dropout.
at::Tensor dropout(const at::Tensor& x, double probability, DropoutStream* stream, const at::Tensor& residual = {});
inline at::Tensor dropout(const at::Tensor& x, const Epilogue& epilogue) {
  return dropout(x, epilogue.probability, epilogue.stream, epilogue.residual);
}

/// The same by our kernels, without a gradient: for tensors that is_fast() holds for.
at::Tensor dropout_fast(const at::Tensor& x, kernel::DropoutMask mask, const at::Tensor& residual = {});

/// An error unless the residual, when it is defined, has this shape.
void check_residual(const at::Tensor& residual, at::IntArrayRef shape);

/// The same as dropout by LibTorch's operator, whose generator is seeded with the mask's key: for other types and devices. The mask is another one
/// than the CPU kernels make of that key, but again a function of it alone.
at::Tensor dropout_general(const at::Tensor& x, kernel::DropoutMask mask);

}  // namespace seqmill::tensor
