#include "kernel/packed.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "kernel/packed_bf16.h"
#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

struct Shape {
  int64_t rows, outputs, inputs;
};

std::vector<float> packed(const PackedKernels& kernels, const std::vector<float>& weight, int64_t outputs, int64_t inputs) {
  std::vector<float> panels(static_cast<size_t>((outputs + kernels.columns - 1) / kernels.columns * kernels.columns * inputs), NAN);
  for (int64_t first = 0; first < outputs; first += kernels.columns) {
    std::vector<const void*> rows;
    for (int64_t o = first; o < std::min(outputs, first + kernels.columns); ++o) rows.push_back(weight.data() + o * inputs);
    kernels.interleave(rows.data(), static_cast<int64_t>(rows.size()), inputs, kernels.columns, panels.data() + first * inputs);
  }
  return panels;
}

double worst_of(const std::vector<float>& a, const std::vector<double>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double now = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(now <= worst)) worst = now;
  }
  return worst;
}

}  // namespace

TEST_CASE("packed products are products, finished as asked for", "[packed]") {
  for (const PackedKernels* kernels : usable_packed_kernels()) {
    CAPTURE(kernels->instruction_set);
    for (const auto& [rows, outputs, inputs] : {Shape{1, 1, 1}, Shape{3, 7, 5}, Shape{12, 32, 16}, Shape{13, 33, 17}, Shape{29, 100, 64}, Shape{0, 4, 4}, Shape{5, 64, 300}}) {
      CAPTURE(rows, outputs, inputs);
      const std::vector<float> x = normals(rows * inputs, 1), weight = normals(outputs * inputs, 2), bias = normals(outputs, 3),
                               residual = normals(rows * outputs, 4);
      const std::vector<float> panels = packed(*kernels, weight, outputs, inputs);
      for (int finish = 0; finish < 8; ++finish) {
        const bool with_bias = finish & 1, relu = finish & 2, with_residual = finish & 4;
        std::vector<double> expected;
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t o = 0; o < outputs; ++o) {
            double sum = with_bias ? static_cast<double>(bias[static_cast<size_t>(o)]) : 0;
            for (int64_t k = 0; k < inputs; ++k) {
              sum += static_cast<double>(x[static_cast<size_t>(r * inputs + k)]) * static_cast<double>(weight[static_cast<size_t>(o * inputs + k)]);
            }
            if (relu) sum = std::max(0.0, sum);
            expected.push_back(sum + (with_residual ? static_cast<double>(residual[static_cast<size_t>(r * outputs + o)]) : 0));
          }
        }
        std::vector<float> out(static_cast<size_t>(rows * outputs) + 1, NAN);
        out.back() = 7;
        kernels->multiply(x.data(), rows, panels.data(), outputs, inputs,
                          Finish{with_bias ? bias.data() : nullptr, relu, with_residual ? residual.data() : nullptr}, out.data(), outputs);
        CHECK(out.back() == 7);
        out.pop_back();
        CHECK(worst_of(out, expected) < 1e-4);
      }
    }
  }
}

TEST_CASE("a row of a packed product does not depend on the others", "[packed]") {
  constexpr int64_t kRows = 31, kOutputs = 70, kInputs = 45;
  const std::vector<float> x = normals(kRows * kInputs, 1), weight = normals(kOutputs * kInputs, 2);
  for (const PackedKernels* kernels : usable_packed_kernels()) {
    CAPTURE(kernels->instruction_set);
    const std::vector<float> panels = packed(*kernels, weight, kOutputs, kInputs);
    std::vector<float> all(kRows * kOutputs), part(kRows * kOutputs);
    kernels->multiply(x.data(), kRows, panels.data(), kOutputs, kInputs, {}, all.data(), kOutputs);
    for (int64_t first = 0; first < kRows; ++first) {
      for (const int64_t count : {int64_t{1}, (kRows - first + 1) / 2, kRows - first}) {
        kernels->multiply(x.data() + first * kInputs, count, panels.data(), kOutputs, kInputs, {}, part.data(), kOutputs);
        CHECK(std::equal(part.begin(), part.begin() + count * kOutputs, all.begin() + first * kOutputs));
      }
    }
  }
}

TEST_CASE("rows of a packed matrix are those that were packed", "[packed]") {
  const std::vector<float> weight = normals(41 * 19, 5);
  const PackedMatrix matrix(weight.data(), 41, 19);
  CHECK((matrix.outputs() == 41 && matrix.inputs() == 19 && matrix.bytes() >= 41 * 19 * 4));
  std::vector<float> row(19);
  for (int64_t i = 0; i < 41; ++i) {
    matrix.row(i, row.data());
    CHECK(std::equal(row.begin(), row.end(), weight.begin() + i * 19));
  }
}

TEST_CASE("attention to scattered keys is attention", "[packed]") {
  for (const PackedKernels* kernels : usable_packed_kernels()) {
    CAPTURE(kernels->instruction_set);
    for (const int64_t dim : {1, 8, 19, 64}) {
      for (const int64_t count : {1, 2, 17, 40}) {
        constexpr int64_t kHeads = 3;
        const Polynomial polynomials[kHeads] = {{1, 0.5f, 0.1f}, {3, 1, -0.2f}, {4, 0.7f, 0.3f}};
        CAPTURE(dim, count);
        for (const bool with_polynomials : {false, true}) {
          const int64_t width = kHeads * dim;
          const std::vector<float> q = normals(width, 1), pool = normals(count * 2 * width, 2);
          std::vector<const float*> keys;
          for (int64_t t = 0; t < count; ++t) keys.push_back(pool.data() + t * 7 % count * 2 * width);
          std::vector<double> expected(static_cast<size_t>(width));
          const double scale = 0.3;
          for (int64_t h = 0; h < kHeads; ++h) {
            std::vector<double> weights;
            double sum = 0;
            for (int64_t t = 0; t < count; ++t) {
              double score = 0;
              for (int64_t d = 0; d < dim; ++d) score += static_cast<double>(q[static_cast<size_t>(h * dim + d)]) * static_cast<double>(keys[static_cast<size_t>(t)][h * dim + d]);
              const Polynomial& polynomial = polynomials[h];
              const double raised = std::pow(std::max(0.0, scale * score + static_cast<double>(polynomial.bias)), polynomial.degree);
              weights.push_back(with_polynomials ? raised + std::abs(static_cast<double>(polynomial.delta)) : std::exp(scale * score));
              sum += weights.back();
            }
            for (int64_t t = 0; t < count; ++t) {
              for (int64_t d = 0; d < dim; ++d) {
                expected[static_cast<size_t>(h * dim + d)] += weights[static_cast<size_t>(t)] / sum * static_cast<double>(keys[static_cast<size_t>(t)][width + h * dim + d]);
              }
            }
          }
          std::vector<float> room(static_cast<size_t>(kHeads * count)), out(static_cast<size_t>(width), NAN);
          kernels->attend(q.data(), {keys.data(), count, 0, width}, kHeads, 1, dim, static_cast<float>(scale), with_polynomials ? polynomials : nullptr, room.data(), out.data());
          CHECK(worst_of(out, expected) < 1e-5);
        }
      }
    }
  }
}

TEST_CASE("packed bfloat16 products are those of rounded factors, row by row", "[packed]") {
  if (!has_bfloat16_products()) return;
  const auto rounded = [](const std::vector<float>& x) {
    std::vector<BFloat16> bits(x.size());
    float_kernels().to_bfloat16(x.data(), bits.data(), static_cast<int64_t>(x.size()));
    std::vector<double> values;
    for (const BFloat16 one : bits) {
      const uint32_t upper = static_cast<uint32_t>(one.bits) << 16;
      float value;
      std::memcpy(&value, &upper, sizeof value);
      values.push_back(static_cast<double>(value));
    }
    return values;
  };
  for (const auto& [rows, outputs, inputs] : {Shape{1, 1, 1}, Shape{3, 7, 5}, Shape{13, 33, 18}, Shape{29, 100, 65}, Shape{0, 4, 4}}) {
    CAPTURE(rows, outputs, inputs);
    const std::vector<float> x = normals(rows * inputs, 1), weight = normals(outputs * inputs, 2), bias = normals(outputs, 3);
    const std::vector<double> a = rounded(x), b = rounded(weight);
    std::vector<double> expected;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < outputs; ++o) {
        double sum = static_cast<double>(bias[static_cast<size_t>(o)]);
        for (int64_t k = 0; k < inputs; ++k) sum += a[static_cast<size_t>(r * inputs + k)] * b[static_cast<size_t>(o * inputs + k)];
        expected.push_back(sum);
      }
    }
    const PackedBFloat16Matrix matrix(weight.data(), outputs, inputs);
    Buffer<uint16_t> room;
    std::vector<float> all(static_cast<size_t>(rows * outputs), NAN), one(static_cast<size_t>(outputs)), row(static_cast<size_t>(inputs));
    matrix.multiply(x.data(), rows, all.data(), Finish{bias.data(), false, nullptr}, room);
    CHECK(worst_of(all, expected) < 1e-4);
    for (int64_t r = 0; r < rows; ++r) {
      matrix.multiply(x.data() + r * inputs, 1, one.data(), Finish{bias.data(), false, nullptr}, room);
      CHECK(std::equal(one.begin(), one.end(), all.begin() + r * outputs));
    }
    for (int64_t o = 0; o < outputs; ++o) {
      matrix.row(o, row.data());
      for (int64_t k = 0; k < inputs; ++k) CHECK(static_cast<double>(row[static_cast<size_t>(k)]) == b[static_cast<size_t>(o * inputs + k)]);
    }
  }
}
