#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"
#include "kernel/packed_int8.h"
#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

/// Whole numbers from -127 to 127, with the extremes in it.
std::vector<int8_t> integers(int64_t count, uint64_t seed) {
  Rng rng(seed, "integers");
  std::vector<int8_t> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(static_cast<int8_t>(static_cast<int>(rng.below(255)) - 127));
  for (size_t i = 0; i < all.size(); i += 7) all[i] = i % 2 == 0 ? 127 : -127;
  return all;
}

struct Rows {
  Rows(int64_t rows, int64_t inputs, uint64_t seed) : inputs(inputs), bare(integers(rows * inputs, seed)) {
    for (int64_t r = 0; r < rows; ++r) {
      int32_t sum = 0;
      for (int64_t k = 0; k < padded_inputs(inputs); ++k) {
        padded.push_back(k < inputs ? bare[static_cast<size_t>(r * inputs + k)] : int8_t{0});
        sum += padded.back();
      }
      sums.push_back(sum);
      scales.push_back(1 + static_cast<float>(r));
    }
  }
  Int8Rows view() const { return {padded.data(), scales.data(), sums.data(), static_cast<int64_t>(sums.size())}; }
  int64_t inputs;
  std::vector<int8_t> bare, padded;
  std::vector<int32_t> sums;
  std::vector<float> scales;
};

std::vector<uint8_t> panels_of(const std::vector<int8_t>& weight, int64_t outputs, int64_t inputs) {
  const int64_t columns = Int8Kernels::kColumns, width = padded_inputs(inputs);
  std::vector<uint8_t> panels(static_cast<size_t>((outputs + columns - 1) / columns * columns * width), 128);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t k = 0; k < inputs; ++k) {
      const int64_t place = o / columns * columns * width + k / 4 * 4 * columns + o % columns * 4 + k % 4;
      panels[static_cast<size_t>(place)] = static_cast<uint8_t>(weight[static_cast<size_t>(o * inputs + k)] + 128);
    }
  }
  return panels;
}

struct Shape {
  int64_t rows, outputs, inputs;
};

}  // namespace

TEST_CASE("8-bit products are exact on every instruction set", "[int8]") {
  for (const auto& [rows, outputs, inputs] : {Shape{1, 1, 1}, Shape{3, 7, 5}, Shape{12, 32, 16}, Shape{13, 33, 18}, Shape{29, 100, 64}, Shape{0, 4, 4}, Shape{2, 40, 4099}}) {
    CAPTURE(rows, outputs, inputs);
    const Rows x(rows, inputs, 1);
    const std::vector<int8_t> weight = integers(outputs * inputs, 2);
    std::vector<int32_t> expected;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < outputs; ++o) {
        int64_t sum = 0;
        for (int64_t k = 0; k < inputs; ++k) sum += int64_t{x.bare[static_cast<size_t>(r * inputs + k)]} * weight[static_cast<size_t>(o * inputs + k)];
        expected.push_back(static_cast<int32_t>(sum));
      }
    }
    const std::vector<uint8_t> panels = panels_of(weight, outputs, inputs);
    const std::vector<float> inverses = normals(outputs, 3), bias = normals(outputs, 4), residual = normals(rows * outputs, 5);
    std::vector<float> first;
    for (const Int8Kernels* kernels : usable_int8_kernels()) {
      CAPTURE(kernels->instruction_set);
      std::vector<int32_t> out(static_cast<size_t>(rows * outputs) + 1, 77);
      kernels->multiply(x.view(), panels.data(), outputs, inputs, out.data());
      CHECK(out.back() == 77);
      out.pop_back();
      CHECK(out == expected);
      std::vector<float> real(static_cast<size_t>(rows * outputs), NAN);
      kernels->multiply_real(x.view(), panels.data(), outputs, inputs, inverses.data(), Finish{bias.data(), true, residual.data()}, real.data(), outputs);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t o = 0; o < outputs; ++o) {
          const auto at = static_cast<size_t>(r * outputs + o);
          const double product = static_cast<double>(expected[at]) * static_cast<double>(inverses[static_cast<size_t>(o)]) / static_cast<double>(1 + r);
          const double value = std::max(0.0, product + static_cast<double>(bias[static_cast<size_t>(o)])) + static_cast<double>(residual[at]);
          CHECK(static_cast<double>(real[at]) == Approx(value).epsilon(1e-5).margin(1e-4));
        }
      }
    }
  }
}

TEST_CASE("the largest sums do not overflow", "[int8]") {
  const std::vector<int8_t> weight(static_cast<size_t>(kMostInt8Inputs), 127), x(weight);
  const float scale = 1;
  const int32_t sum = 127 * static_cast<int32_t>(kMostInt8Inputs);
  for (const int sign : {1, -1}) {
    std::vector<int8_t> signed_weight = weight;
    for (int8_t& number : signed_weight) number = static_cast<int8_t>(sign * number);
    const std::vector<uint8_t> panels = panels_of(signed_weight, 1, kMostInt8Inputs);
    for (const Int8Kernels* kernels : usable_int8_kernels()) {
      int32_t out = 0;
      kernels->multiply({x.data(), &scale, &sum, 1}, panels.data(), 1, kMostInt8Inputs, &out);
      CHECK(out == sign * 127 * 127 * static_cast<int32_t>(kMostInt8Inputs));
    }
  }
  const std::vector<int8_t> more(static_cast<size_t>(kMostInt8Inputs) + 1, 1);
  CHECK_THROWS_AS(PackedInt8Matrix(more.data(), &scale, 1, kMostInt8Inputs + 1), Error);
  const int8_t outside = -128;
  CHECK_THROWS_AS(PackedInt8Matrix(&outside, &scale, 1, 1), Error);
}

TEST_CASE("rows are rounded to integers within half a step", "[int8]") {
  for (const int32_t limit : {127, 63, 7}) {
    for (const int64_t inputs : {1, 4, 19, 64, 500}) {
      std::vector<float> x = normals(3 * inputs, 7, 3);
      for (int64_t k = 0; k < inputs; ++k) x[static_cast<size_t>(inputs + k)] = 0;
      Int8Room room;
      const Int8Rows rows = room.quantise(x.data(), 3, inputs, limit);
      CHECK(rows.scales[1] == 1);
      for (int64_t r = 0; r < 3; ++r) {
        int32_t sum = 0, largest = 0;
        for (int64_t k = 0; k < padded_inputs(inputs); ++k) {
          const int32_t number = rows.numbers[r * padded_inputs(inputs) + k];
          sum += number;
          largest = std::max(largest, std::abs(number));
          if (k >= inputs || r == 1) {
            CHECK(number == 0);
            continue;
          }
          const double scale = static_cast<double>(rows.scales[r]), real = static_cast<double>(x[static_cast<size_t>(r * inputs + k)]);
          CHECK(std::abs(real - number / scale) <= 0.5001 / scale);
        }
        CHECK(sum == rows.sums[r]);
        if (r != 1) CHECK(largest == limit);
      }
      for (const Int8Kernels* kernels : usable_int8_kernels()) {
        std::vector<int8_t> numbers(static_cast<size_t>(inputs));
        int32_t sum = 0;
        const float scale = kernels->quantise(x.data(), inputs, limit, numbers.data(), &sum);
        CHECK(scale == rows.scales[0]);
        CHECK((sum == rows.sums[0] && std::equal(numbers.begin(), numbers.end(), rows.numbers)));
      }
    }
  }
  // What is not finite stays so, in its row alone.
  const std::vector<int8_t> weight{1, 2, 3};
  const float one = 1;
  const PackedInt8Matrix matrix(weight.data(), &one, 1, 3);
  for (const float odd : {NAN, INFINITY, -INFINITY, -NAN}) {
    const std::vector<float> x{1, 2, 3, 1, odd, 2, 4, 5, 6};
    Int8Room room;
    std::vector<float> out(3);
    matrix.multiply(room.quantise(x.data(), 3, 3), out.data());
    CHECK((std::isnan(out[1]) && out[0] == Approx(14).epsilon(0.02) && out[2] == Approx(32).epsilon(0.02)));
  }
  const std::vector<float> tiny{1e-44F, 0, -1e-44F};
  Int8Room room;
  CHECK(room.quantise(tiny.data(), 1, 3).scales[0] == 1);
}

TEST_CASE("a row of a packed 8-bit matrix is what was packed", "[int8]") {
  const std::vector<int8_t> weight = integers(41 * 19, 5);
  std::vector<float> scales;
  for (int o = 0; o < 41; ++o) scales.push_back(10.0F + static_cast<float>(o));
  const PackedInt8Matrix matrix(weight.data(), scales.data(), 41, 19);
  std::vector<float> row(19);
  for (int64_t o = 0; o < 41; ++o) {
    matrix.row(o, row.data());
    for (int64_t k = 0; k < 19; ++k) CHECK(row[static_cast<size_t>(k)] == Approx(static_cast<float>(weight[static_cast<size_t>(o * 19 + k)]) / scales[static_cast<size_t>(o)]));
  }
}

TEST_CASE("an 8-bit product is within the bound of its roundings", "[int8]") {
  constexpr int64_t kRows = 5, kOutputs = 9, kInputs = 64;
  const std::vector<float> x = normals(kRows * kInputs, 1), w = normals(kOutputs * kInputs, 2);
  Int8Room room, weight_room;
  const Int8Rows weight = weight_room.quantise(w.data(), kOutputs, kInputs);
  const PackedInt8Matrix matrix(weight.numbers, weight.scales, kOutputs, kInputs);
  const Int8Rows rows = room.quantise(x.data(), kRows, kInputs);
  std::vector<float> out(kRows * kOutputs);
  matrix.multiply(rows, out.data());
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t o = 0; o < kOutputs; ++o) {
      const double s_x = static_cast<double>(rows.scales[r]), s_w = static_cast<double>(weight.scales[o]);
      double exact = 0, bound = 0;
      for (int64_t k = 0; k < kInputs; ++k) {
        const double a = static_cast<double>(x[static_cast<size_t>(r * kInputs + k)]), b = static_cast<double>(w[static_cast<size_t>(o * kInputs + k)]);
        exact += a * b;
        bound += std::abs(a) * 0.5 / s_w + std::abs(b) * 0.5 / s_x + 0.25 / (s_x * s_w);
      }
      CHECK(std::abs(static_cast<double>(out[static_cast<size_t>(r * kOutputs + o)]) - exact) <= bound);
    }
  }
}
