#include "kernel/gemm.h"

#include <dnnl.h>

#include "base/error.h"

namespace seqmill::kernel {

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float beta, float* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb,
                                          beta, c, ldc);
  if (status != dnnl_success) fail("oneDNN sgemm failed with status {} at m={} n={} k={}", static_cast<int>(status), m, n, k);
}

}  // namespace seqmill::kernel
