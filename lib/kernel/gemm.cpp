#include "kernel/gemm.h"

#include <dnnl.h>

#include <array>
#include <dnnl.hpp>
#include <optional>

#include "base/error.h"

namespace seqmill::kernel {
namespace {

/// oneDNN's product for one way of transposing. Its sizes are known only when it runs: made for each shape anew, it would spend more time
/// compiling than computing, since hardly two batches have the same number of rows.
class BFloat16Product {
 public:
  BFloat16Product(bool transpose_a, bool transpose_b, bool accumulates) {
    using dnnl::memory;
    const auto any = [](memory::data_type type, bool transposed) {
      const memory::dim free = DNNL_RUNTIME_DIM_VAL;
      return memory::desc(memory::dims{free, free}, type, transposed ? memory::dims{1, free} : memory::dims{free, 1});
    };
    const memory::desc a = any(memory::data_type::bf16, transpose_a), b = any(memory::data_type::bf16, transpose_b),
                       c = any(memory::data_type::f32, false);
    dnnl::primitive_attr attributes;
    if (accumulates) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
#if DNNL_VERSION_MAJOR >= 3
    product_ = dnnl::matmul(dnnl::matmul::primitive_desc(engine_, a, b, c, attributes));
#else
    product_ = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine_));
#endif
  }

  void run(const dnnl::memory::desc& a, const BFloat16* a_data, const dnnl::memory::desc& b, const BFloat16* b_data,
           const dnnl::memory::desc& c, float* c_data) const {
    dnnl::stream stream(engine_);
    product_.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(a, engine_, const_cast<BFloat16*>(a_data))},
                              {DNNL_ARG_WEIGHTS, dnnl::memory(b, engine_, const_cast<BFloat16*>(b_data))},
                              {DNNL_ARG_DST, dnnl::memory(c, engine_, c_data)}});
    stream.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::matmul product_;
};

const BFloat16Product& product_for(bool transpose_a, bool transpose_b, bool accumulates) {
  static thread_local std::array<std::optional<BFloat16Product>, 8> products;
  auto& product = products[(transpose_a ? 4U : 0U) + (transpose_b ? 2U : 0U) + (accumulates ? 1U : 0U)];
  if (!product) product.emplace(transpose_a, transpose_b, accumulates);
  return *product;
}

/// Whether this CPU has these instructions and oneDNN may use them. Sets of instructions are sets of bits, none of them elsewhere than on x86.
bool may_use([[maybe_unused]] dnnl_cpu_isa_t instructions) {
#if defined(__x86_64__)
  return (dnnl_get_effective_cpu_isa() & instructions) == instructions;
#else
  return false;
#endif
}

/// c = beta * c: what is left of a product without terms.
void scale(int64_t m, int64_t n, float beta, float* c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == 0 ? 0.0f : beta * c[i * ldc + j];
  }
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float beta, float* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) return scale(m, n, beta, c, ldc);
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb,
                                          beta, c, ldc);
  if (status != dnnl_success) fail("oneDNN sgemm failed with status {} at m={} n={} k={}", static_cast<int>(status), m, n, k);
}

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t lda,
          const BFloat16* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  using dnnl::memory;
  if (m == 0 || n == 0) return;
  if (beta != 0 && beta != 1) fail("bfloat16 products are added or not, beta {} is neither", beta);
  if (k == 0) return scale(m, n, beta, c, ldc);
  const auto shape = [](memory::data_type type, bool transposed, int64_t rows, int64_t columns, int64_t stride) {
    return memory::desc(memory::dims{rows, columns}, type, transposed ? memory::dims{1, stride} : memory::dims{stride, 1});
  };
  try {
    product_for(transpose_a, transpose_b, beta != 0)
        .run(shape(memory::data_type::bf16, transpose_a, m, k, lda), a, shape(memory::data_type::bf16, transpose_b, k, n, ldb),
             b, shape(memory::data_type::f32, false, m, n, ldc), c);
  } catch (const dnnl::error& error) {
    fail("oneDNN's bfloat16 product failed at m={} n={} k={}: {}", m, n, k, error.what());
  }
}

bool invariant_in_multiples() { return may_use(dnnl_cpu_isa_avx512_core); }

bool has_bfloat16() { return may_use(dnnl_cpu_isa_avx512_core_bf16); }

}  // namespace seqmill::kernel
