#include <catch2/catch.hpp>
#include <cmath>

#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

constexpr int64_t kSizes[] = {0, 1, 15, 16, 17, 1003};

}  // namespace

TEST_CASE("the first step of Adam by hand", "[adam]") {
  // Gradient 0.5 * 2 = 1. With the bias corrections of step 1 the step is the learning rate, 0.1, whatever the gradient.
  const float root_correction = 1 / std::sqrt(0.001f);
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    for (const bool decoupled : {false, true}) {
      float parameter = 2, gradient = 0.5f, m = 0, v = 0;
      kernels->adam(&parameter, &gradient, &m, &v, 1, 2.0f, 1.0f, root_correction, 0.9f, 0.999f, 0.0f, 0.01f, 0.1f,
                    decoupled);
      CHECK(gradient == 0.5f);
      CHECK(m == Approx(decoupled ? 0.1 : 0.102).epsilon(1e-5));
      CHECK(v == Approx(decoupled ? 0.001 : 0.0010404).epsilon(1e-4));
      CHECK(parameter == Approx(decoupled ? 2 * (1 - 0.001) - 0.1 : 1.9).epsilon(1e-5));
    }
  }
}

TEST_CASE("Adam against double precision", "[adam]") {
  const double scale = 0.7, step_size = 0.02, correction = 1.3, b1 = 0.8, b2 = 0.95;
  const double epsilon = 0.01, decay = 0.2, rate = 0.05;
  for (const int64_t size : kSizes) {
    for (const bool decoupled : {false, true}) {
      for (const FloatKernels* kernels : available_kernels()) {
        CAPTURE(kernels->instruction_set, size, decoupled);
        const std::vector<float> p0 = normals(size, 1), g0 = normals(size, 2), m0 = normals(size, 3);
        std::vector<float> v0 = normals(size, 4);
        for (float& x : v0) x *= x;
        std::vector<float> p = p0, m = m0, v = v0;
        kernels->adam(p.data(), g0.data(), m.data(), v.data(), size, static_cast<float>(scale),
                      static_cast<float>(step_size), static_cast<float>(correction), static_cast<float>(b1),
                      static_cast<float>(b2), static_cast<float>(epsilon), static_cast<float>(decay),
                      static_cast<float>(rate), decoupled);
        double worst = 0;
        for (size_t i = 0; i < p.size(); ++i) {
          const double old = static_cast<double>(p0[i]);
          const double g = static_cast<double>(g0[i]) * scale + (decoupled ? 0 : decay * old);
          const double new_m = b1 * static_cast<double>(m0[i]) + (1 - b1) * g;
          const double new_v = b2 * static_cast<double>(v0[i]) + (1 - b2) * g * g;
          const double new_p =
              old * (decoupled ? 1 - rate * decay : 1) - step_size * new_m / (std::sqrt(new_v) * correction + epsilon);
          worst = std::max({worst, std::abs(static_cast<double>(m[i]) - new_m), std::abs(static_cast<double>(v[i]) - new_v),
                            std::abs(static_cast<double>(p[i]) - new_p)});
        }
        CHECK(worst < 2e-6);
      }
    }
  }
}

TEST_CASE("sums of squares do not lose what is small", "[sums]") {
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    for (const int64_t size : kSizes) {
      const std::vector<float> x = normals(size, 8);
      double expected = 0;
      for (const float value : x) expected += static_cast<double>(value) * static_cast<double>(value);
      CHECK(kernels->sum_of_squares(x.data(), size) == Approx(expected).epsilon(1e-12));
    }
    std::vector<float> x(50, 1.0f);
    x[20] = 1e5f;  // 1e10 + 49 needs more than the 24 bits of a float
    CHECK(kernels->sum_of_squares(x.data(), 50) == static_cast<double>(x[20]) * static_cast<double>(x[20]) + 49);
  }
}

TEST_CASE("moving averages", "[sums]") {
  for (const FloatKernels* kernels : available_kernels()) {
    const std::vector<float> x = normals(37, 1), start = normals(37, 2);
    std::vector<float> average = start;
    kernels->moving_average(average.data(), x.data(), 37, 0.75f);
    for (size_t i = 0; i < x.size(); ++i) REQUIRE(average[i] == Approx(0.75f * start[i] + 0.25f * x[i]).margin(1e-6));
  }
}

TEST_CASE("columns are added up", "[sums]") {
  for (const FloatKernels* kernels : available_kernels()) {
    for (const int64_t columns : {1, 16, 21}) {
      const std::vector<float> rows = normals(5 * columns, 1), before = normals(columns, 3);
      std::vector<float> sums = before;
      kernels->add_column_sums(rows.data(), columns, sums.data(), 5, columns);
      for (size_t j = 0; j < sums.size(); ++j) {
        float expected = before[j];
        for (size_t r = 0; r < 5; ++r) expected += rows[r * sums.size() + j];
        CHECK(sums[j] == Approx(expected).margin(1e-5));
      }
    }
  }
}

TEST_CASE("the chosen kernels are the best of those available") {
  CHECK(&float_kernels() == available_kernels().back());
}
