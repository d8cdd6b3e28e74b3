#pragma once
// Dense products through oneDNN, row-major. They use the process's thread pool.

#include <cstdint>

namespace seqmill::kernel {

/// c [m, n] = op(a) op(b) + beta c, where op transposes when asked: a is [m, k] (transposed: [k, m]), b is [k, n] (transposed:
/// [n, k]). Leading dimensions are the row lengths. m, n or k may be 0.
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float beta, float* c, int64_t ldc);

/// A bfloat16 number: the upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

/// The same for bfloat16 factors, with beta 0 or 1 (else Error); products are summed and written in float32. Any shape at full speed on a CPU that has_bfloat16(),
/// slow or an Error on others.
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t lda,
          const BFloat16* b, int64_t ldb, float beta, float* c, int64_t ldc);

/// True when the CPU multiplies bfloat16 numbers itself (AVX512-BF16) and oneDNN may use that: its variable ONEDNN_MAX_CPU_ISA limits
/// it, for trying out what other CPUs do. Our own kernels do not look at it.
bool has_bfloat16();

/// Rows are computed alike, bit for bit, whatever the number of other rows, when m is a multiple of this: below it, and in the
/// remainder, the library uses kernels that add in another order.
constexpr int64_t kInvariantRows = 24;

/// Whether that holds between different multiples. oneDNN's code for CPUs without AVX-512 has another algorithm for fewer than some hundred rows:
/// there it holds only between products of equally many rows.
bool invariant_in_multiples();

}  // namespace seqmill::kernel
