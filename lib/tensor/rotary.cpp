#include "tensor/rotary.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"
#include "tensor/autograd.h"
#include "tensor/products.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor rotate_fast(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& table, bool back, int64_t heads) {
  const Timed timed(Work::kElementwise);
  const int64_t rows = x.size(0), width = x.size(1), half = table.size(2), turned = 2 * half * heads, known = table.size(0);
  at::Tensor out = at::empty({rows, width}, x.options());
  const float *from = x.data_ptr<float>(), *angles = table.data_ptr<float>();
  const auto* at = positions.data_ptr<int64_t>();
  for (int64_t r = 0; r < rows; ++r) {
    if (at[r] < 0 || at[r] >= known) fail("position {} is outside the {} of the model", at[r], known);
  }
  float* to = out.data_ptr<float>();
  parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *cosines = angles + 2 * half * at[r], *row = from + r * width;
      kernel::float_kernels().rotate(row, to + r * width, cosines, cosines + half, back, heads, half);
      std::memcpy(to + r * width + turned, row + turned, static_cast<size_t>(width - turned) * sizeof(float));
    }
  });
  return out;
}

struct RotateFunction : torch::autograd::Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& positions, const at::Tensor& table, int64_t heads) {
    context->save_for_backward({positions, table});
    context->saved_data["heads"] = heads;
    return rotate_fast(x, positions, table, false, heads);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    return {rotate_fast(grads[0].contiguous(), saved[0], saved[1], true, context->saved_data["heads"].toInt()), {}, {}, {}};
  }
};

/// By LibTorch's operators, for other devices and types.
at::Tensor rotate_general(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& table, int64_t heads) {
  const int64_t rows = x.size(0), half = table.size(2), turned = 2 * half * heads;
  const at::Tensor angles = table.to(x.options().requires_grad(false)).index_select(0, positions);
  const at::Tensor cosine = angles.narrow(1, 0, 1), sine = angles.narrow(1, 1, 1);  // [N, 1, half]
  const at::Tensor pairs = x.narrow(1, 0, turned).reshape({rows, heads, 2 * half});
  const at::Tensor first = pairs.narrow(2, 0, half), second = pairs.narrow(2, half, half);
  const at::Tensor result = at::cat({first * cosine - second * sine, second * cosine + first * sine}, 2).view({rows, turned});
  return turned == x.size(1) ? result : at::cat({result, x.narrow(1, turned, x.size(1) - turned)}, 1);
}

}  // namespace

at::Tensor rotary_table(const std::vector<float>& frequencies, int64_t positions) {
  const auto half = static_cast<int64_t>(frequencies.size());
  at::Tensor table = at::empty({positions, 2, half}, at::kFloat);
  auto* to = table.data_ptr<float>();
  parallel_for(positions, 256, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(p) * frequencies[static_cast<size_t>(i)];
        to[2 * half * p + i] = std::cos(angle);
        to[2 * half * p + half + i] = std::sin(angle);
      }
    }
  });
  return table;
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& table, int64_t heads) {
  const bool fast = is_fast(x) && is_fast(table) && x.dim() == 2 && positions.is_contiguous() && positions.device().is_cpu();
  if (!fast) return rotate_general(x, positions, table, heads);
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return rotate_fast(x, positions, table, false, heads);
  return RotateFunction::apply(x, positions, table, heads);
}

}  // namespace seqmill::tensor
