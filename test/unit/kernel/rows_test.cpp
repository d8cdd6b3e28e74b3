#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

constexpr int64_t kSizes[] = {1, 2, 15, 16, 17, 33, 1000, 32003};

std::vector<double> log_probabilities(const std::vector<float>& logits) {
  double largest = -INFINITY, sum = 0;
  for (const float x : logits) largest = std::max(largest, static_cast<double>(x));
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - largest);
  std::vector<double> out;
  for (const float x : logits) out.push_back(static_cast<double>(x) - largest - std::log(sum));
  return out;
}

}  // namespace

TEST_CASE("cross-entropy, its gradient and nll by hand", "[cross-entropy]") {
  // Probabilities 1/8, 2/8, 5/8.
  const std::vector<float> logits{0, std::log(2.0f), std::log(5.0f)};
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    for (const bool gradient : {false, true}) {
      std::vector<float> row = logits;
      float nll = NAN;
      const float loss = kernels->cross_entropy(row.data(), nullptr, 3, 2, 0.3f, gradient, &nll);
      CHECK(nll == Approx(std::log(1.6)));
      CHECK(loss == Approx(0.7 * std::log(1.6) + 0.1 * (std::log(8) + std::log(4) + std::log(1.6))));
      if (!gradient) continue;
      CHECK(row[0] == Approx(0.125 - 0.1));
      CHECK(row[1] == Approx(0.25 - 0.1));
      CHECK(row[2] == Approx(0.625 - 0.1 - 0.7));
    }
  }
}

TEST_CASE("cross-entropy against double precision", "[cross-entropy]") {
  for (const int64_t size : kSizes) {
    for (const double spread : {0.5, 4.0, 40.0}) {
      const std::vector<float> logits = normals(size, static_cast<uint64_t>(size), spread);
      const std::vector<double> expected = log_probabilities(logits);
      const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
      for (const float smoothing : {0.0f, 0.1f, 0.5f}) {
        for (const int64_t target : {int64_t{0}, size / 2, size - 1}) {
          const double nll_expected = -expected[static_cast<size_t>(target)];
          const double uniform = static_cast<double>(smoothing) / static_cast<double>(size);
          const double loss_expected = (1 - static_cast<double>(smoothing)) * nll_expected - uniform * total;
          for (const FloatKernels* kernels : available_kernels()) {
            CAPTURE(kernels->instruction_set, size, spread, smoothing, target);
            for (const bool gradient : {false, true}) {
              std::vector<float> row = logits;
              float nll = NAN;
              const float loss = kernels->cross_entropy(row.data(), nullptr, size, target, smoothing, gradient, &nll);
              CHECK(nll == Approx(nll_expected).epsilon(3e-6).margin(3e-6));
              CHECK(loss == Approx(loss_expected).epsilon(3e-6).margin(3e-6));
              double worst = 0;
              for (int64_t j = 0; gradient && j < size; ++j) {
                const auto at = static_cast<size_t>(j);
                const double wanted =
                    std::exp(expected[at]) - uniform - (j == target ? 1 - static_cast<double>(smoothing) : 0);
                worst = std::max(worst, std::abs(static_cast<double>(row[at]) - wanted));
              }
              CHECK(worst < 5e-7 + 1e-10 * static_cast<double>(size));
              std::vector<float> from_bias(logits.size(), 0.0f);
              float same_nll = NAN;
              CHECK(kernels->cross_entropy(from_bias.data(), logits.data(), size, target, smoothing, gradient, &same_nll) == loss);
              CHECK(same_nll == nll);
              CHECK(from_bias == row);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("impossible and extreme logits", "[cross-entropy]") {
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    std::vector<float> row(20, -INFINITY);
    row[3] = 1e4f;
    row[18] = 1e4f;
    float nll = NAN;
    CHECK(kernels->cross_entropy(row.data(), nullptr, 20, 18, 0.0f, true, &nll) == Approx(std::log(2)));
    CHECK(nll == Approx(std::log(2)));
    for (size_t j = 0; j < 20; ++j) CHECK(row[j] == Approx(j == 3 ? 0.5 : j == 18 ? -0.5 : 0.0));

    std::vector<float> logs(20, -INFINITY);
    logs[3] = logs[18] = 2;
    kernels->log_softmax(logs.data(), 20);
    CHECK(logs[0] == -INFINITY);
    CHECK(logs[3] == Approx(-std::log(2)));

    std::vector<float> poisoned(40, 0.0f);
    poisoned[37] = NAN;
    CHECK(std::isnan(kernels->cross_entropy(poisoned.data(), nullptr, 40, 0, 0.1f, false, &nll)));
  }
}

TEST_CASE("log-softmax against double precision", "[log-softmax]") {
  for (const int64_t size : kSizes) {
    for (const double spread : {0.5, 40.0}) {
      const std::vector<float> logits = normals(size, 5, spread);
      const std::vector<double> expected = log_probabilities(logits);
      for (const FloatKernels* kernels : available_kernels()) {
        CAPTURE(kernels->instruction_set, size, spread);
        std::vector<float> row = logits;
        kernels->log_softmax(row.data(), size);
        double worst = 0;
        for (size_t j = 0; j < row.size(); ++j) {
          worst = std::max(worst, std::abs(static_cast<double>(row[j]) - expected[j]) / (1 + std::abs(expected[j])));
        }
        CHECK(worst < 1e-5);
      }
    }
  }
}

TEST_CASE("log-softmax of large logits keeps its digits", "[rows]") {
  for (const FloatKernels* kernels : available_kernels()) {
    std::vector<float> logits{1e4f, 1e4f};
    kernels->log_softmax(logits.data(), 2);
    CHECK(static_cast<double>(logits[0]) == Approx(-std::log(2.0)).epsilon(1e-6));
  }
}

TEST_CASE("layer normalisation and its gradients, every instruction set against double", "[layer-norm]") {
  constexpr int64_t kRows = 3;
  for (const FloatKernels* kernels : available_kernels()) {
    for (const int64_t columns : {1, 16, 37}) {
      CAPTURE(kernels->instruction_set, columns);
      const std::vector<float> x = normals(kRows * columns, 1), weight = normals(columns, 2), bias = normals(columns, 3);
      const std::vector<float> upper = normals(kRows * columns, 4), beside = normals(kRows * columns, 5);
      std::vector<float> out(x.size()), grad(x.size()), grad_beside(x.size()), mean(kRows), inverse(kRows), grad_weight(weight.size(), 1.0f),
          grad_bias(weight.size(), 2.0f);
      kernels->layer_norm(x.data(), weight.data(), bias.data(), 0.01f, out.data(), mean.data(), inverse.data(), kRows, columns);
      kernels->layer_norm_backward(x.data(), weight.data(), mean.data(), inverse.data(), upper.data(), nullptr, grad.data(), kRows, columns);
      kernels->layer_norm_backward(x.data(), weight.data(), mean.data(), inverse.data(), upper.data(), beside.data(), grad_beside.data(), kRows,
                                   columns);
      kernels->layer_norm_weight_backward(x.data(), mean.data(), inverse.data(), upper.data(), columns, grad_weight.data(), nullptr, kRows, columns);
      kernels->layer_norm_weight_backward(x.data(), mean.data(), inverse.data(), upper.data(), columns, nullptr, grad_bias.data(), kRows, columns);
      // Both at once, and only some columns of wider rows.
      std::vector<float> part_weight(weight.size(), 1.0f), part_bias(weight.size(), 2.0f);
      for (int64_t begin = 0, count = (columns + 1) / 2; begin < columns; begin += count) {
        kernels->layer_norm_weight_backward(x.data() + begin, mean.data(), inverse.data(), upper.data() + begin, columns, part_weight.data() + begin,
                                            part_bias.data() + begin, kRows, std::min(count, columns - begin));
      }
      for (size_t j = 0; j < weight.size(); ++j) {
        CHECK(part_weight[j] == Approx(grad_weight[j]).margin(1e-5));
        CHECK(part_bias[j] == Approx(grad_bias[j]).margin(1e-5));
      }
      const double n = static_cast<double>(columns);
      std::vector<double> wanted_weight(weight.size(), 1.0), wanted_bias(weight.size(), 2.0);
      for (int64_t r = 0; r < kRows; ++r) {
        const auto at = [&](int64_t j) { return static_cast<size_t>(r * columns + j); };
        double middle = 0, variance = 0, sum = 0, product = 0;
        for (int64_t j = 0; j < columns; ++j) middle += x[at(j)] / n;
        for (int64_t j = 0; j < columns; ++j) variance += (x[at(j)] - middle) * (x[at(j)] - middle) / n;
        const double factor = 1 / std::sqrt(variance + 0.01);
        const auto normal = [&](int64_t j) { return (x[at(j)] - middle) * factor; };
        for (int64_t j = 0; j < columns; ++j) {
          const double above = static_cast<double>(upper[at(j)]) * static_cast<double>(weight[static_cast<size_t>(j)]);
          sum += above / n;
          product += above * normal(j) / n;
          wanted_weight[static_cast<size_t>(j)] += upper[at(j)] * normal(j);
          wanted_bias[static_cast<size_t>(j)] += upper[at(j)];
        }
        for (int64_t j = 0; j < columns; ++j) {
          const auto c = static_cast<size_t>(j);
          REQUIRE(out[at(j)] == Approx(normal(j) * weight[c] + bias[c]).margin(1e-5));
          const double slope = (static_cast<double>(upper[at(j)]) * static_cast<double>(weight[c]) - sum - normal(j) * product) * factor;
          REQUIRE(grad[at(j)] == Approx(slope).epsilon(1e-4).margin(1e-5));
          REQUIRE(grad_beside[at(j)] == Approx(slope + beside[at(j)]).epsilon(1e-4).margin(1e-5));
        }
      }
      for (size_t j = 0; j < weight.size(); ++j) REQUIRE(grad_weight[j] == Approx(wanted_weight[j]).margin(1e-5));
      for (size_t j = 0; j < bias.size(); ++j) REQUIRE(grad_bias[j] == Approx(wanted_bias[j]).margin(1e-5));
    }
  }
}

TEST_CASE("normalisation by the mean deviation and its gradient against central differences in double", "[rows]") {
  constexpr double kEpsilon = 0.01, kConstant = 1.2533141373155003;
  for (const FloatKernels* kernels : available_kernels()) {
    for (const int64_t columns : {1, 2, 5, 16, 37}) {
      CAPTURE(kernels->instruction_set, columns);
      const std::vector<float> x = normals(2 * columns, 1), weight = normals(columns, 2), bias = normals(columns, 3), upper = normals(2 * columns, 4),
                               beside = normals(2 * columns, 5);
      std::vector<float> out(x.size()), grad(x.size()), grad_beside(x.size()), mean(2), inverse(2);
      kernels->l1_norm(x.data(), weight.data(), bias.data(), static_cast<float>(kEpsilon), out.data(), mean.data(), inverse.data(), 2, columns);
      kernels->l1_norm_backward(x.data(), weight.data(), mean.data(), inverse.data(), upper.data(), nullptr, grad.data(), 2, columns);
      kernels->l1_norm_backward(x.data(), weight.data(), mean.data(), inverse.data(), upper.data(), beside.data(), grad_beside.data(), 2, columns);
      const auto normed = [&](std::vector<double> row) {
        double middle = 0, deviation = 0;
        for (const double number : row) middle += number / static_cast<double>(columns);
        for (const double number : row) deviation += std::abs(number - middle) / static_cast<double>(columns);
        for (size_t j = 0; j < row.size(); ++j) {
          row[j] = (row[j] - middle) / (kConstant * deviation + kEpsilon) * static_cast<double>(weight[j]) + static_cast<double>(bias[j]);
        }
        return row;
      };
      for (int64_t r = 0; r < 2; ++r) {
        std::vector<double> row(x.begin() + r * columns, x.begin() + (r + 1) * columns);
        const auto above = [&](const std::vector<double>& results) {
          double sum = 0;
          for (size_t j = 0; j < results.size(); ++j) sum += results[j] * static_cast<double>(upper[static_cast<size_t>(r * columns) + j]);
          return sum;
        };
        const std::vector<double> wanted = normed(row);
        for (size_t j = 0; j < row.size(); ++j) {
          const size_t at = static_cast<size_t>(r * columns) + j;
          REQUIRE(static_cast<double>(out[at]) == Approx(wanted[j]).margin(1e-5));
          constexpr double kStep = 1e-6;
          row[j] += kStep;
          const double higher = above(normed(row));
          row[j] -= 2 * kStep;
          const double slope = columns == 1 ? 0 : (higher - above(normed(row))) / (2 * kStep);
          row[j] += kStep;
          REQUIRE(static_cast<double>(grad[at]) == Approx(slope).epsilon(1e-3).margin(1e-4));
          REQUIRE(grad_beside[at] == Approx(grad[at] + beside[at]).margin(1e-5));
        }
      }
    }
  }
}

TEST_CASE("gradients are moved: added there and zero here", "[rows]") {
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    for (const int64_t size : kSizes) {
      std::vector<float> from(static_cast<size_t>(size)), to(from), expected(from);
      for (size_t i = 0; i < from.size(); ++i) {
        from[i] = static_cast<float>(i) * 0.37f - 3;
        to[i] = static_cast<float>(i % 7) * 1.1f;
        expected[i] = to[i] + from[i];
      }
      kernels->move_added(from.data(), to.data(), size);
      CHECK(to == expected);
      CHECK(from == std::vector<float>(from.size(), 0.0f));
    }
  }
}

TEST_CASE("GELU is near its formula, and NaN stays", "[rows]") {
  for (const FloatKernels* kernels : available_kernels()) {
    std::vector<float> x = normals(1001, 1, 3);
    for (const float special : {0.0f, -0.0f, 40.0f, -40.0f, 1e30f, -1e30f, 1e-30f}) x.push_back(special);
    std::vector<float> got = x;
    kernels->gelu(got.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = static_cast<double>(x[i]);
      REQUIRE(std::abs(static_cast<double>(got[i]) - 0.5 * exact * (1 + std::erf(exact / std::sqrt(2.0)))) <= 3e-7 * std::max(1.0, std::abs(exact)));
    }
    float nan = NAN;
    kernels->gelu(&nan, 1);
    CHECK(std::isnan(nan));
  }
}

TEST_CASE("the norm by the mean square and its gradient against double", "[rows]") {
  constexpr int64_t kRows = 3;
  for (const FloatKernels* kernels : available_kernels()) {
    for (const int64_t columns : {1, 16, 37}) {
      CAPTURE(kernels->instruction_set, columns);
      const std::vector<float> x = normals(kRows * columns, 1), weight = normals(columns, 2), upper = normals(kRows * columns, 4), beside = normals(kRows * columns, 5);
      std::vector<float> out(x.size()), grad(x.size()), grad_beside(x.size()), inverse(kRows), grad_weight(weight.size(), 1.0f);
      kernels->rms_norm(x.data(), weight.data(), 0.01f, out.data(), inverse.data(), kRows, columns);
      kernels->rms_norm_backward(x.data(), weight.data(), inverse.data(), upper.data(), nullptr, grad.data(), kRows, columns);
      kernels->rms_norm_backward(x.data(), weight.data(), inverse.data(), upper.data(), beside.data(), grad_beside.data(), kRows, columns);
      kernels->layer_norm_weight_backward(x.data(), nullptr, inverse.data(), upper.data(), columns, grad_weight.data(), nullptr, kRows, columns);
      std::vector<double> wanted_weight(weight.size(), 1.0);
      for (int64_t r = 0; r < kRows; ++r) {
        const auto number = [&](const std::vector<float>& of, int64_t j) { return static_cast<double>(of[static_cast<size_t>(r * columns + j)]); };
        const auto scale = [&](int64_t j) { return static_cast<double>(weight[static_cast<size_t>(j)]); };
        double square = 0, product = 0;
        for (int64_t j = 0; j < columns; ++j) square += number(x, j) * number(x, j) / static_cast<double>(columns);
        const double factor = 1 / std::sqrt(square + 0.01);
        for (int64_t j = 0; j < columns; ++j) product += number(upper, j) * scale(j) * number(x, j) * factor / static_cast<double>(columns);
        for (int64_t j = 0; j < columns; ++j) {
          const double slope = (number(upper, j) * scale(j) - number(x, j) * factor * product) * factor;
          REQUIRE(number(out, j) == Approx(number(x, j) * factor * scale(j)).margin(1e-5));
          REQUIRE(number(grad, j) == Approx(slope).epsilon(1e-4).margin(1e-5));
          REQUIRE(number(grad_beside, j) == Approx(slope + number(beside, j)).epsilon(1e-4).margin(1e-5));
          wanted_weight[static_cast<size_t>(j)] += number(upper, j) * number(x, j) * factor;
        }
      }
      for (size_t j = 0; j < weight.size(); ++j) REQUIRE(grad_weight[j] == Approx(wanted_weight[j]).margin(1e-5));
    }
  }
}

TEST_CASE("gated units and their gradient against double, also far from zero", "[rows]") {
  constexpr int64_t kRows = 2, kColumns = 35;
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    std::vector<float> gates = normals(kRows * 2 * kColumns, 1, 4.0);
    gates[0] = 100;
    gates[1] = -100;
    gates[2] = 0;
    const std::vector<float> upper = normals(kRows * kColumns, 2);
    std::vector<float> out(upper.size()), gradient(gates.size());
    kernels->swiglu(gates.data(), out.data(), kRows, kColumns);
    kernels->swiglu_backward(gates.data(), upper.data(), gradient.data(), kRows, kColumns);
    std::vector<BFloat16> rounded(gates.size()), of_rounded(gates.size());
    kernels->to_bfloat16(gates.data(), rounded.data(), static_cast<int64_t>(gates.size()));
    kernels->swiglu_backward_bfloat16(rounded.data(), upper.data(), of_rounded.data(), kRows, kColumns);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t j = 0; j < kColumns; ++j) {
        const auto at = static_cast<size_t>(2 * r * kColumns + j), beside = at + kColumns, place = static_cast<size_t>(r * kColumns + j);
        const double gate = gates[at], value = gates[beside], above = upper[place], share = 1 / (1 + std::exp(-gate));
        CHECK(out[place] == Approx(gate * share * value).epsilon(1e-5).margin(1e-6));
        CHECK(gradient[at] == Approx(above * value * share * (1 + gate * (1 - share))).epsilon(1e-5).margin(1e-5));
        CHECK(gradient[beside] == Approx(above * gate * share).epsilon(1e-5).margin(1e-6));
        const auto real = [](BFloat16 x) {
          const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
          float number;
          std::memcpy(&number, &bits, sizeof number);
          return number;
        };
        CHECK(real(of_rounded[at]) == Approx(gradient[at]).epsilon(0.03).margin(0.05));
        CHECK(real(of_rounded[beside]) == Approx(gradient[beside]).epsilon(0.03).margin(0.05));
      }
    }
  }
}

TEST_CASE("a rotation and the way back", "[rows]") {
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    constexpr int64_t kHeads = 3, kHalf = 20;
    const std::vector<float> x = normals(kHeads * 2 * kHalf, 1);
    std::vector<float> cosines, sines, out(x.size()), back(x.size());
    for (int64_t i = 0; i < kHalf; ++i) {
      const float angle = 0.1f * static_cast<float>(i * i);
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
    kernels->rotate(x.data(), out.data(), cosines.data(), sines.data(), false, kHeads, kHalf);
    kernels->rotate(out.data(), back.data(), cosines.data(), sines.data(), true, kHeads, kHalf);
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t i = 0; i < kHalf; ++i) {
        const auto first = static_cast<size_t>(2 * h * kHalf + i), second = first + kHalf, pair = static_cast<size_t>(i);
        CHECK(out[first] == Approx(x[first] * cosines[pair] - x[second] * sines[pair]).margin(1e-5));
        CHECK(out[second] == Approx(x[second] * cosines[pair] + x[first] * sines[pair]).margin(1e-5));
        CHECK(back[first] == Approx(x[first]).margin(1e-5));
      }
    }
    std::vector<float> place = x;
    kernels->rotate(place.data(), place.data(), cosines.data(), sines.data(), false, kHeads, kHalf);
    CHECK(place == out);
  }
}
