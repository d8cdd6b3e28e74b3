#include "tensor/bfloat16.h"

#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"

namespace seqmill::tensor {

at::Tensor to_bfloat16(const at::Tensor& x) {
  const Timed timed(Work::kElementwise);
  at::Tensor out = at::empty(x.sizes(), x.options().dtype(at::kBFloat16).requires_grad(false));
  const float* from = x.data_ptr<float>();
  kernel::BFloat16* to = mutable_numbers(out);
  parallel_for(x.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    kernel::float_kernels().to_bfloat16(from + begin, to + begin, end - begin);
  });
  return out;
}

}  // namespace seqmill::tensor
