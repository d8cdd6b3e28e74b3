#include "kernel/packed.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "kernel/packed_bf16.h"
#include "kernel/packed_int8.h"
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

namespace {

std::vector<BFloat16> rounded(const std::vector<float>& x) {
  std::vector<BFloat16> halves(x.size());
  float_kernels().to_bfloat16(x.data(), halves.data(), static_cast<int64_t>(x.size()));
  return halves;
}

std::vector<float> widened(const PackedKernels& kernels, const std::vector<BFloat16>& halves) {
  std::vector<float> out(halves.size(), NAN);
  kernels.widen(halves.data(), NumberType::kBFloat16, static_cast<int64_t>(halves.size()), out.data());
  return out;
}

struct Attention {
  int64_t count, heads, group, dim, stride;  ///< of `stride` numbers for each token, keys being at 3 and values behind them and 5 others
  bool with_polynomials;
  double scale = 0.3;
  Polynomial polynomials[6] = {{1, 0.5f, 0.1f}, {3, 1, -0.2f}, {4, 0.7f, 0.3f}, {2, 0.1f, 0.1f}, {3, 0, 0.3f}, {1, 1, 1}};

  int64_t key() const { return 3; }
  int64_t value() const { return 3 + heads / group * dim + 5; }

  std::vector<double> operator()(const std::vector<float>& q, const std::vector<float>& pool) const {
    std::vector<double> out(static_cast<size_t>(heads * dim));
    for (int64_t h = 0; h < heads; ++h) {
      const auto number = [&](int64_t t, int64_t place, int64_t d) { return static_cast<double>(pool[static_cast<size_t>(t * 7 % count * stride + place + h / group * dim + d)]); };
      std::vector<double> weights;
      double sum = 0;
      for (int64_t t = 0; t < count; ++t) {
        double score = 0;
        for (int64_t d = 0; d < dim; ++d) score += static_cast<double>(q[static_cast<size_t>(h * dim + d)]) * number(t, key(), d);
        const Polynomial& polynomial = polynomials[h];
        const double raised = std::pow(std::max(0.0, scale * score + static_cast<double>(polynomial.bias)), polynomial.degree);
        weights.push_back(with_polynomials ? raised + std::abs(static_cast<double>(polynomial.delta)) : std::exp(scale * score));
        sum += weights.back();
      }
      for (int64_t t = 0; t < count; ++t) {
        for (int64_t d = 0; d < dim; ++d) out[static_cast<size_t>(h * dim + d)] += weights[static_cast<size_t>(t)] / sum * number(t, value(), d);
      }
    }
    return out;
  }
};

template <typename Number, typename Attend>
std::vector<float> attended(Attend attend, const Attention& a, const std::vector<float>& q, const std::vector<Number>& pool) {
  std::vector<const Number*> tokens;
  for (int64_t t = 0; t < a.count; ++t) tokens.push_back(pool.data() + t * 7 % a.count * a.stride);
  std::vector<float> room(static_cast<size_t>(a.heads * a.count)), out(static_cast<size_t>(a.heads * a.dim) + 1, NAN);
  out.back() = 7;
  attend(q.data(), {tokens.data(), a.count, a.key(), a.value()}, a.heads, a.group, a.dim, static_cast<float>(a.scale), a.with_polynomials ? a.polynomials : nullptr,
         room.data(), out.data());
  CHECK(out.back() == 7);
  out.pop_back();
  return out;
}

}  // namespace

TEST_CASE("attention to scattered keys is attention, also of heads that share keys", "[packed]") {
  for (const PackedKernels* kernels : usable_packed_kernels()) {
    CAPTURE(kernels->instruction_set);
    for (const int64_t dim : {1, 8, 19, 48, 64}) {
      for (const int64_t count : {1, 2, 17, 40, 150}) {
        for (const auto& [heads, group] : {std::pair<int64_t, int64_t>(3, 1), {6, 2}, {6, 3}, {6, 6}, {1, 1}}) {
          for (const bool with_polynomials : {false, true}) {
            CAPTURE(dim, count, heads, group, with_polynomials);
            const Attention attention{count, heads, group, dim, 2 * heads * dim + 13, with_polynomials};
            const std::vector<float> q = normals(heads * dim, 1), pool = normals(count * attention.stride, 2);
            CHECK(worst_of(attended(kernels->attend, attention, q, pool), attention(q, pool)) < 1e-5);
            const std::vector<BFloat16> halves = rounded(pool);
            CHECK(worst_of(attended(kernels->attend_bfloat16, attention, q, halves), attention(q, widened(*kernels, halves))) < 1e-5);
          }
        }
      }
    }
  }
}

TEST_CASE("numbers of files become float32 exactly", "[packed]") {
  for (const PackedKernels* kernels : usable_packed_kernels()) {
    CAPTURE(kernels->instruction_set);
    // Every half, at an odd address.
    std::vector<char> bytes(1 + 2 * 65536);
    for (uint32_t i = 0; i < 65536; ++i) std::memcpy(bytes.data() + 1 + 2 * i, &i, 2);
    std::vector<float> halves(65536), upper(65536);
    kernels->widen(bytes.data() + 1, NumberType::kFloat16, 65536, halves.data());
    kernels->widen(bytes.data() + 1, NumberType::kBFloat16, 65536, upper.data());
    int64_t wrong = 0;
    for (uint32_t i = 0; i < 65536; ++i) {
      const int exponent = i >> 10 & 31, fraction = i & 1023;
      const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : exponent == 31 ? (fraction ? NAN : INFINITY) : std::ldexp(1024 + fraction, exponent - 25);
      const double value = i & 0x8000 ? -magnitude : magnitude;
      const bool same = std::isnan(value) ? std::isnan(halves[i]) : static_cast<double>(halves[i]) == value && std::signbit(halves[i]) == std::signbit(value);
      const uint32_t bits = i << 16;
      wrong += !same || std::memcmp(&bits, &upper[i], sizeof bits) != 0;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("matrices of parts are those of the whole, in files of any type, and ranges of panels give parts of the product", "[packed]") {
  const int64_t inputs = 45, rows = 5;
  const std::vector<int64_t> parts{70, 1, 33};
  for (const int64_t width : {inputs, inputs + 1}) {
    const std::vector<float> weight = normals(104 * width, 1), x = normals(rows * width, 2), residual = normals(rows * 104, 3), bias = normals(104, 4);
    const std::vector<BFloat16> halves = rounded(weight);
    const std::vector<float> values = widened(packed_kernels(), halves);
    std::vector<WeightRows> real, mixed;
    int64_t first = 0;
    for (const int64_t part : parts) {
      real.push_back({values.data() + first * width, NumberType::kFloat32, part});
      mixed.push_back(real.back());
      if (part != 1) mixed.back() = {halves.data() + first * width, NumberType::kBFloat16, part};
      first += part;
    }
    const auto check = [&](const auto& whole, const auto& of_parts, auto multiply) {
      const Finish finish{bias.data(), true, residual.data()};
      std::vector<float> expected(static_cast<size_t>(rows * 104)), out(expected.size());
      multiply(whole, expected.data(), finish, PanelRange{0, whole.panels()});
      CHECK(of_parts.panels() == whole.panels());
      for (int64_t panel = of_parts.panels(); panel-- > 0;) multiply(of_parts, out.data(), finish, PanelRange{panel, panel + 1});
      CHECK((out == expected));
    };
    check(PackedMatrix(values.data(), 104, width), PackedMatrix(mixed, width), [&](const PackedMatrix& matrix, float* out, const Finish& finish, PanelRange range) {
      matrix.multiply(x.data(), rows, out, finish, range, 104);
    });
    if (has_bfloat16_products()) {
      std::vector<uint16_t> padded(static_cast<size_t>(rows * padded_pairs(width)));
      round_rows(x.data(), rows, width, padded.data());
      check(PackedBFloat16Matrix(weight.data(), 104, width), PackedBFloat16Matrix(mixed, width),
            [&](const PackedBFloat16Matrix& matrix, float* out, const Finish& finish, PanelRange range) { matrix.multiply(padded.data(), rows, out, finish, range, 104); });
    }
    std::vector<int8_t> integers;
    for (const float number : weight) integers.push_back(static_cast<int8_t>(std::clamp(40 * number, -127.0f, 127.0f)));
    std::vector<float> scales;
    for (int i = 0; i < 104; ++i) scales.push_back(static_cast<float>(1 + i));
    std::vector<Int8WeightRows> of_integers;
    first = 0;
    for (const int64_t part : parts) {
      of_integers.push_back({integers.data() + first * width, scales.data() + first, part});
      first += part;
    }
    Int8Room room, other;
    const Int8Rows quantised = room.quantise(x.data(), rows, width), shared = other.quantise_shared(x.data(), rows, width, 1);
    CHECK(std::equal(quantised.numbers, quantised.numbers + rows * padded_inputs(width), shared.numbers));
    check(PackedInt8Matrix(integers.data(), scales.data(), 104, width), PackedInt8Matrix(of_integers, width),
          [&](const PackedInt8Matrix& matrix, float* out, const Finish& finish, PanelRange range) { matrix.multiply(shared, out, finish, range, 104); });
  }
}

TEST_CASE("packed bfloat16 products are those of rounded factors, row by row", "[packed]") {
  if (!has_bfloat16_products()) return;
  const auto as_rounded = [](const std::vector<float>& x) {
    const std::vector<float> values = widened(packed_kernels(), rounded(x));
    return std::vector<double>(values.begin(), values.end());
  };
  for (const auto& [rows, outputs, inputs] : {Shape{1, 1, 1}, Shape{3, 7, 5}, Shape{13, 33, 18}, Shape{29, 100, 65}, Shape{0, 4, 4}}) {
    CAPTURE(rows, outputs, inputs);
    const std::vector<float> x = normals(rows * inputs, 1), weight = normals(outputs * inputs, 2), bias = normals(outputs, 3);
    const std::vector<double> a = as_rounded(x), b = as_rounded(weight);
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
