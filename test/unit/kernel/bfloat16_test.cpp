#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

float widen(BFloat16 number) {
  const uint32_t bits = static_cast<uint32_t>(number.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::vector<BFloat16> rounded(const std::vector<float>& values) {
  std::vector<BFloat16> out(values.size());
  float_kernels().to_bfloat16(values.data(), out.data(), static_cast<int64_t>(values.size()));
  return out;
}

}  // namespace

TEST_CASE("rounding to bfloat16: to the nearest, ties to even, NaN and infinities as they are", "[bfloat16]") {
  const float one = 1.0f, step = 0x1p-7f;  // one unit in the last place of 1.0
  const std::vector<float> values{one, one + step / 2, one + step, one + step * 1.5f, one + step * 0.51f, -one - step / 2, 0.0f, -0.0f,
                                  INFINITY, -INFINITY, NAN, std::numeric_limits<float>::max(), 0x1p-130f};
  const std::vector<float> wanted{one, one, one + step, one + 2 * step, one + step, -one, 0.0f, -0.0f, INFINITY, -INFINITY, NAN, INFINITY,
                                  0x1p-130f};
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    std::vector<BFloat16> out(values.size());
    kernels->to_bfloat16(values.data(), out.data(), static_cast<int64_t>(values.size()));
    for (size_t i = 0; i < values.size(); ++i) {
      CAPTURE(values[i]);
      if (std::isnan(wanted[i])) {
        CHECK(std::isnan(widen(out[i])));
      } else {
        CHECK(widen(out[i]) == wanted[i]);
        CHECK(std::signbit(widen(out[i])) == std::signbit(wanted[i]));
      }
    }
  }
}

TEST_CASE("products of bfloat16 factors", "[bfloat16]") {
  if (!has_bfloat16()) return;
  const struct { int64_t m, n, k; } shapes[] = {{1, 1, 1}, {5, 3, 7}, {64, 32, 16}, {77, 130, 65}};
  for (const auto& [m, n, k] : shapes) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const float beta : {0.0f, 1.0f}) {
          for (const int64_t gap : {0, 3}) {
            CAPTURE(m, n, k, transpose_a, transpose_b, beta, gap);
            const int64_t lda = (transpose_a ? m : k) + gap, ldb = (transpose_b ? k : n) + gap, ldc = n + gap;
            const auto a = rounded(normals((transpose_a ? k : m) * lda, 1)), b = rounded(normals((transpose_b ? n : k) * ldb, 2));
            const std::vector<float> before = normals(m * ldc, 3);
            std::vector<float> c = before;
            gemm(transpose_a, transpose_b, m, n, k, a.data(), lda, b.data(), ldb, beta, c.data(), ldc);
            double worst = 0;
            bool outside_untouched = true;
            for (int64_t i = 0; i < m; ++i) {
              for (int64_t j = 0; j < ldc; ++j) {
                const auto at = static_cast<size_t>(i * ldc + j);
                if (j >= n) {
                  outside_untouched &= c[at] == before[at];
                  continue;
                }
                double sum = beta * before[at];
                for (int64_t t = 0; t < k; ++t) {
                  sum += static_cast<double>(widen(a[static_cast<size_t>(transpose_a ? t * lda + i : i * lda + t)])) *
                         static_cast<double>(widen(b[static_cast<size_t>(transpose_b ? j * ldb + t : t * ldb + j)]));
                }
                worst = std::max(worst, std::abs(sum - static_cast<double>(c[at])));
              }
            }
            CHECK(worst < 1e-4);
            CHECK(outside_untouched);
          }
        }
      }
    }
  }
}

TEST_CASE("bfloat16 products without terms", "[bfloat16]") {
  if (!has_bfloat16()) return;
  std::vector<float> c{1, 2, 3, 4};
  gemm(false, false, 2, 2, 0, static_cast<const BFloat16*>(nullptr), 0, static_cast<const BFloat16*>(nullptr), 2, 1, c.data(), 2);
  CHECK(c == std::vector<float>{1, 2, 3, 4});
  gemm(false, false, 2, 2, 0, static_cast<const BFloat16*>(nullptr), 0, static_cast<const BFloat16*>(nullptr), 2, 0, c.data(), 2);
  CHECK(c == std::vector<float>{0, 0, 0, 0});
}

TEST_CASE("gradients are rounded on their way back through dropout and ReLU, and their columns added up", "[bfloat16]") {
  constexpr int64_t kRows = 5;
  for (const FloatKernels* kernels : available_kernels()) {
    for (const int64_t columns : {1, 16, 37}) {
      const int64_t stride = columns + 3, count = kRows * stride;
      const std::vector<float> gradient = normals(count, 1), before = normals(columns, 2);
      const std::vector<BFloat16> activated = rounded(normals(count, 3));
      for (const float probability : {0.0f, 0.4f}) {
        for (const bool sums_wanted : {false, true}) {
          CAPTURE(kernels->instruction_set, columns, probability, sums_wanted);
          const DropoutMask mask{77, probability};
          std::vector<float> dropped(gradient), through_relu(gradient.size());
          if (probability > 0) kernels->dropout(gradient.data(), nullptr, dropped.data(), 40, count, mask);
          for (size_t i = 0; i < gradient.size(); ++i) through_relu[i] = widen(activated[i]) > 0 ? gradient[i] * 1.25f : 0.0f;
          const auto check = [&](const std::vector<float>& expected, const std::vector<BFloat16>& out, const std::vector<float>& sums) {
            const std::vector<BFloat16> wanted = rounded(expected);
            std::vector<float> wanted_sums = before;
            for (int64_t r = 0; r < kRows; ++r) {
              for (int64_t j = 0; j < stride; ++j) {
                const auto at = static_cast<size_t>(r * stride + j);
                REQUIRE(out[at].bits == (j < columns ? wanted[at].bits : 1));  // nothing is written between the rows
                if (j < columns && sums_wanted) wanted_sums[static_cast<size_t>(j)] += expected[at];
              }
            }
            for (size_t j = 0; j < sums.size(); ++j) REQUIRE(sums[j] == Approx(wanted_sums[j]).margin(1e-5));
          };
          std::vector<BFloat16> out(gradient.size(), BFloat16{1});
          std::vector<float> sums = before;
          kernels->dropout_backward_bfloat16(gradient.data(), out.data(), sums_wanted ? sums.data() : nullptr, stride, kRows, columns, 40, mask);
          check(dropped, out, sums);
          out.assign(out.size(), BFloat16{1});
          sums = before;
          kernels->relu_backward_bfloat16(gradient.data(), activated.data(), 1.25f, out.data(), sums_wanted ? sums.data() : nullptr, stride,
                                          kRows, columns);
          check(through_relu, out, sums);
        }
      }
    }
  }
}
