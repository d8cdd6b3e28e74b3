#include <catch2/catch.hpp>
#include <cmath>

#include "kernel/gemm.h"
#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

constexpr float kGuard = 12345.0f;

struct Matrix {
  Matrix(int64_t rows, int64_t columns, int64_t stride, uint64_t seed)
      : rows(rows), columns(columns), stride(stride), data(normals(rows * stride + 1, seed)) {
    for (int64_t i = 0; i < rows * stride; ++i) {
      if (i % stride >= columns) data[static_cast<size_t>(i)] = kGuard;
    }
  }
  double at(int64_t row, int64_t column, bool transposed = false) const {
    return static_cast<double>(data[static_cast<size_t>(transposed ? column * stride + row : row * stride + column)]);
  }
  int64_t rows, columns, stride;
  std::vector<float> data;
};

void check(int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b, float beta, int64_t gap) {
  CAPTURE(m, n, k, transpose_a, transpose_b, beta, gap);
  const Matrix a = transpose_a ? Matrix(k, m, m + gap, 1) : Matrix(m, k, k + gap, 1);
  const Matrix b = transpose_b ? Matrix(n, k, k + gap, 2) : Matrix(k, n, n + gap, 2);
  const Matrix before(m, n, n + gap, 3);
  Matrix c = before;
  if (beta == 0) {
    for (float& x : c.data) x = x == kGuard ? x : NAN;
  }
  gemm(transpose_a, transpose_b, m, n, k, a.data.data(), a.stride, b.data.data(), b.stride, beta, c.data.data(), c.stride);
  double worst = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = beta == 0 ? 0 : static_cast<double>(beta) * before.at(i, j);
      for (int64_t l = 0; l < k; ++l) sum += a.at(i, l, transpose_a) * b.at(l, j, transpose_b);
      const double error = std::abs(c.at(i, j) - sum);
      if (!(error <= worst)) worst = error;
    }
    for (int64_t j = n; j < n + gap; ++j) REQUIRE(c.at(i, j) == static_cast<double>(kGuard));
  }
  CHECK(worst < 1e-6 * static_cast<double>(k + 4));
}

}  // namespace

TEST_CASE("products of all transpositions against a naive one", "[gemm]") {
  for (const int bits : {0, 1, 2, 3}) {
    for (const float beta : {0.0f, 1.0f, 0.5f}) {
      for (const int64_t gap : {0, 3}) {
        check(1, 1, 1, bits & 1, bits & 2, beta, gap);
        check(1, 40, 17, bits & 1, bits & 2, beta, gap);
        check(40, 1, 17, bits & 1, bits & 2, beta, gap);
        check(7, 13, 5, bits & 1, bits & 2, beta, gap);
        check(50, 64, 100, bits & 1, bits & 2, beta, gap);
      }
    }
    check(130, 70, 300, bits & 1, bits & 2, 1.0f, 0);
  }
}

TEST_CASE("a product of nothing", "[gemm]") {
  float c[] = {1, 2, 3, 4};
  const float some[] = {5, 6};
  gemm(false, false, 0, 2, 2, some, 2, some, 2, 0, c, 2);
  gemm(false, false, 2, 0, 2, some, 2, some, 2, 0, c, 2);
  CHECK((c[0] == 1 && c[1] == 2 && c[2] == 3 && c[3] == 4));
}

TEST_CASE("rows in multiples of kInvariantRows are computed alike whatever their number", "[gemm]") {
  for (const int64_t n : {1, 5, 32, 100, 512}) {
    for (const int64_t k : {1, 16, 100, 512}) {
      const Matrix a(20 * kInvariantRows, k, k, 1), b(n, k, k, 2);
      std::vector<float> all(static_cast<size_t>(a.rows * n));
      gemm(false, true, a.rows, n, k, a.data.data(), k, b.data.data(), k, 0, all.data(), n);
      for (const int64_t blocks : {1, 2, 3, 7}) {
        const int64_t rows = blocks * kInvariantRows;
        std::vector<float> some(static_cast<size_t>(rows * n));
        gemm(false, true, rows, n, k, a.data.data() + rows * k, k, b.data.data(), k, 0, some.data(), n);
        CAPTURE(n, k, rows);
        CHECK(std::equal(some.begin(), some.end(), all.begin() + rows * n));
      }
    }
  }
}

TEST_CASE("a product without terms is beta times what was there", "[gemm]") {
  for (const float beta : {0.0f, 0.5f, 1.0f}) {
    std::vector<float> c{1, 2, NAN, 3, 4, NAN};
    if (beta != 0) c[2] = c[5] = 7;
    gemm(false, false, 2, 3, 0, static_cast<const float*>(nullptr), 0, static_cast<const float*>(nullptr), 3, beta, c.data(), 3);
    CHECK(c == std::vector<float>{beta * 1, beta * 2, beta * 7, beta * 3, beta * 4, beta * 7});
  }
}
