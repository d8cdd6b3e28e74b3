#include <catch2/catch.hpp>
#include <cmath>

#include "kernels.h"

using namespace seqmill;
using namespace seqmill::kernel;
using namespace seqmill::test;

namespace {

constexpr float kGuard = 12345.0f;  // between the rows, where nothing may be written

struct Case {
  int64_t q_length, k_length, dim;
  bool causal;
  float dropout;
  Polynomial polynomial = {};
};

/// Rows of dim numbers, `stride` apart.
struct Rows {
  int64_t length, dim, stride;
  std::vector<float> data;
  Rows(int64_t length, int64_t dim, int64_t stride, uint64_t seed)
      : length(length), dim(dim), stride(stride), data(static_cast<size_t>(length * stride), kGuard) {
    const std::vector<float> values = normals(length * dim, seed);
    for (int64_t i = 0; i < length * dim; ++i) at(i / dim, i % dim) = values[static_cast<size_t>(i)];
  }
  float& at(int64_t row, int64_t column) { return data[static_cast<size_t>(row * stride + column)]; }
  float at(int64_t row, int64_t column) const { return data[static_cast<size_t>(row * stride + column)]; }
  bool guards_hold() const {
    for (size_t i = 0; i < data.size(); ++i) {
      if (static_cast<int64_t>(i) % stride >= dim && data[i] != kGuard) return false;
    }
    return true;
  }
};

struct Problem {
  explicit Problem(const Case& c)
      : q(c.q_length, c.dim, c.dim + 3, 1),
        k(c.k_length, c.dim, c.dim + 1, 2),
        v(c.k_length, c.dim, c.dim, 3),
        upper(c.q_length, c.dim, c.dim + 2, 4),
        head{nullptr,    nullptr,    nullptr, q.stride, k.stride, v.stride,
             c.q_length, c.k_length, c.dim,   c.causal, 0.6f,     {0xabcdef0123456789ULL, c.dropout},
             1000,       c.polynomial} {
    factors.assign(static_cast<size_t>(c.q_length * c.k_length), 1.0f);
    available_kernels().front()->dropout(factors.data(), nullptr, factors.data(), head.mask_offset, c.q_length * c.k_length,
                                    head.dropout);
    head.q = q.data.data();
    head.k = k.data.data();
    head.v = v.data.data();
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  Rows q, k, v, upper;
  AttentionHead head;
  std::vector<float> factors;
};

using Doubles = std::vector<double>;

struct Answer {
  Doubles kept, out;  ///< [q_length, k_length], [q_length, dim]
};

Doubles doubles_of(const Rows& rows) {
  Doubles values;
  for (int64_t r = 0; r < rows.length; ++r) {
    for (int64_t d = 0; d < rows.dim; ++d) values.push_back(static_cast<double>(rows.at(r, d)));
  }
  return values;
}

/// `polynomial`: bias and delta.
Answer reference(const Problem& p, const Doubles& q, const Doubles& k, const Doubles& v, const Doubles& polynomial) {
  const auto queries = static_cast<size_t>(p.head.q_length), keys = static_cast<size_t>(p.head.k_length),
             dim = static_cast<size_t>(p.head.dim);
  Answer answer{Doubles(queries * keys, 0.0), Doubles(queries * dim, 0.0)};
  for (size_t i = 0; i < queries; ++i) {
    double* row = &answer.kept[i * keys];
    Doubles weights(keys, 0.0);
    double sum = 0;
    const auto sees = [&](size_t j) { return !p.head.causal || j + queries <= i + keys; };
    for (size_t j = 0; j < keys; ++j) {
      double score = 0;
      for (size_t d = 0; d < dim; ++d) score += q[i * dim + d] * k[j * dim + d];
      if (!sees(j)) continue;
      score *= static_cast<double>(p.head.scale);
      row[j] = std::max(0.0, score + polynomial[0]);
      sum += weights[j] = p.head.polynomial.degree == 0 ? std::exp(score) : std::pow(row[j], p.head.polynomial.degree) + std::abs(polynomial[1]);
    }
    for (size_t j = 0; j < keys; ++j) {
      if (!sees(j)) continue;
      weights[j] /= sum;
      if (p.head.polynomial.degree == 0) row[j] = weights[j];
      const double factor = weights[j] * static_cast<double>(p.factors[i * keys + j]);
      for (size_t d = 0; d < dim; ++d) answer.out[i * dim + d] += factor * v[j * dim + d];
    }
  }
  return answer;
}

/// The derivatives of sum(out * upper) by each number of `inputs[which]`, by central differences in double.
Doubles slope(const Problem& p, std::vector<Doubles> inputs, size_t which) {
  const Doubles upper = doubles_of(p.upper);
  Doubles slopes;
  const auto value = [&] {
    const Answer answer = reference(p, inputs[0], inputs[1], inputs[2], inputs[3]);
    double sum = 0;
    for (size_t i = 0; i < upper.size(); ++i) sum += upper[i] * answer.out[i];
    return sum;
  };
  for (double& x : inputs[which]) {
    constexpr double kStep = 1e-5;
    x += kStep;
    const double above = value();
    x -= 2 * kStep;
    slopes.push_back((above - value()) / (2 * kStep));
    x += kStep;
  }
  return slopes;
}

template <typename Values>
double difference(const Values& values, const Doubles& expected) {
  double worst = values.size() == expected.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min<size_t>(values.size(), expected.size()); ++i) {
    const double error = std::abs(static_cast<double>(values[i]) - expected[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

void check(const Case& c) {
  CAPTURE(c.q_length, c.k_length, c.dim, c.causal, c.dropout);
  const Problem p(c);
  const std::vector<Doubles> inputs{doubles_of(p.q), doubles_of(p.k), doubles_of(p.v),
                                    {static_cast<double>(c.polynomial.bias), static_cast<double>(c.polynomial.delta)}};
  const Answer expected = reference(p, inputs[0], inputs[1], inputs[2], inputs[3]);
  const Doubles slopes[] = {slope(p, inputs, 0), slope(p, inputs, 1), slope(p, inputs, 2), slope(p, inputs, 3)};
  for (const FloatKernels* kernels : available_kernels()) {
    CAPTURE(kernels->instruction_set);
    std::vector<float> kept(p.factors.size(), NAN), grad_polynomial(2, NAN);
    Rows out(c.q_length, c.dim, c.dim + 5, 9), grad_q = p.q, grad_k = p.k, grad_v = p.v;
    kernels->attention_forward(p.head, kept.data(), out.data.data(), out.stride);
    CHECK(difference(kept, expected.kept) < (c.polynomial.degree == 0 ? 1e-6 : 1e-5));
    CHECK(difference(doubles_of(out), expected.out) < 1e-5);
    kernels->attention_backward(p.head, kept.data(), p.upper.data.data(), p.upper.stride, grad_q.data.data(),
                                grad_k.data.data(), grad_v.data.data(), grad_polynomial.data());
    if (c.polynomial.degree > 0) CHECK(difference(grad_polynomial, slopes[3]) < 1e-4);
    CHECK(difference(doubles_of(grad_q), slopes[0]) < 2e-5);
    CHECK(difference(doubles_of(grad_k), slopes[1]) < 2e-5);
    CHECK(difference(doubles_of(grad_v), slopes[2]) < 2e-5);
    CHECK((out.guards_hold() && grad_q.guards_hold() && grad_k.guards_hold() && grad_v.guards_hold()));
  }
}

}  // namespace

TEST_CASE("attention and its gradients against double precision", "[attention]") {
  for (const bool causal : {false, true}) {
    for (const float dropout : {0.0f, 0.35f}) {
      for (const int64_t q : {1, 2, 3, 7, 18}) {
        for (const int64_t k : {1, 2, 5, 16, 21}) check({q, k, q % 2 == 0 ? 8 : 5, causal, dropout});
      }
      check({3, 40, 33, causal, dropout});
      check({4, 6, 1, causal, dropout});
      check({9, 21, 64, causal, dropout});  // blocks of several vectors and more than eight rows
      check({17, 10, 80, causal, dropout});
    }
  }
}

TEST_CASE("polynomial attention and its gradients against double precision", "[attention][polynomial]") {
  for (const int degree : {1, 2, 3, 4}) {
    for (const bool causal : {false, true}) {
      for (const float dropout : {0.0f, 0.35f}) {
        const Polynomial polynomial{degree, 0.3f, degree % 2 == 0 ? 0.2f : -0.2f};
        for (const int64_t q : {1, 2, 7, 18}) {
          for (const int64_t k : {1, 5, 21}) check({q, k, 5, causal, dropout, polynomial});
        }
        check({9, 21, 64, causal, dropout, polynomial});
      }
    }
  }
}

TEST_CASE("polynomial attention by hand", "[attention][polynomial]") {
  // Scores 2, -3, 0.
  const float q[] = {1}, k[] = {2, -3, 0}, v[] = {10, 20, 30};
  const auto weights_of = [&](const FloatKernels* kernels, Polynomial polynomial, bool causal) {
    const AttentionHead head{q, k, v, 1, 1, 1, 1, 3, 1, causal, 1.0f, {}, 0, polynomial};
    float kept[3], out[1];
    kernels->attention_forward(head, kept, out, 1);
    return out[0];
  };
  for (const FloatKernels* kernels : available_kernels()) {
    CHECK(weights_of(kernels, {1, 0, 0}, false) == Approx(10));                         // linear: 2, 0, 0
    CHECK(weights_of(kernels, {1, 1, 0}, false) == Approx((3 * 10 + 1 * 30) / 4.0));    // 3, 0, 1
    CHECK(weights_of(kernels, {3, 1, -0.5f}, false) == Approx((27.5 * 10 + 0.5 * 20 + 1.5 * 30) / 29.5));
    CHECK(weights_of(kernels, {2, -5, 0.1f}, false) == Approx(20));                     // all below: uniform
    CHECK(weights_of(kernels, {2, -5, 0}, false) == 0);                                 // nothing weighs anything
  }
  // The first of two queries does not see the last key: that weighs nothing, delta neither.
  const float two[] = {1, 1};
  for (const FloatKernels* kernels : available_kernels()) {
    const AttentionHead head{two, k, v, 1, 1, 1, 2, 3, 1, true, 1.0f, {}, 0, {2, -5, 0.1f}};
    float kept[6], out[2];
    kernels->attention_forward(head, kept, out, 1);
    CHECK(out[0] == Approx(15));
    CHECK(out[1] == Approx(20));
  }
}

TEST_CASE("attention of two keys by hand", "[attention]") {
  // Scores 0.5 * (log 9, 0) * 2 give weights 0.9 and 0.1.
  const float q[] = {2, 0}, k[] = {std::log(9.0f), 7, 0, -3}, v[] = {10, 1, 20, -1};
  const AttentionHead head{q, k, v, 2, 2, 2, 1, 2, 2, false, 0.5f, {}, 0, {}};
  for (const FloatKernels* kernels : available_kernels()) {
    float weights[2], out[2];
    kernels->attention_forward(head, weights, out, 2);
    CHECK(weights[0] == Approx(0.9));
    CHECK(out[0] == Approx(11));
    CHECK(out[1] == Approx(0.8));
  }
}

TEST_CASE("scores far apart neither overflow nor turn into NaN", "[attention]") {
  const float q[] = {100}, k[] = {100, -100, 99.99f}, v[] = {1, 2, 3};
  const AttentionHead head{q, k, v, 1, 1, 1, 1, 3, 1, false, 1.0f, {}, 0, {}};
  for (const FloatKernels* kernels : available_kernels()) {
    float weights[3], out[1];
    kernels->attention_forward(head, weights, out, 1);
    CHECK(weights[1] == 0);
    CHECK(weights[0] == Approx(1 / (1 + std::exp(-1.0))).epsilon(1e-3));
    CHECK(out[0] == Approx(3 - 2 * weights[0]));
  }
}

TEST_CASE("NaN behind the causal mask stays there", "[attention]") {
  Problem p({4, 6, 5, true, 0.2f});
  for (Rows* rows : {&p.k, &p.v}) {
    for (int64_t d = 0; d < 5; ++d) rows->at(5, d) = NAN;  // only the last query sees the last key
  }
  for (const FloatKernels* kernels : available_kernels()) {
    std::vector<float> weights(24), out(20), grad_q(p.q.data.size()), grad_k(p.k.data.size()), grad_v(p.v.data.size());
    kernels->attention_forward(p.head, weights.data(), out.data(), 5);
    kernels->attention_backward(p.head, weights.data(), p.upper.data.data(), p.upper.stride, grad_q.data(),
                                grad_k.data(), grad_v.data(), nullptr);
    for (int64_t i = 0; i < 4; ++i) {
      for (int64_t d = 0; d < 5; ++d) {
        CHECK(std::isnan(out[static_cast<size_t>(i * 5 + d)]) == (i == 3));
        CHECK(std::isnan(grad_q[static_cast<size_t>(i * p.q.stride + d)]) == (i == 3));
      }
    }
  }
}

TEST_CASE("queries that see no key give zeros and no gradient, whatever they hold", "[attention]") {
  Problem p({5, 2, 4, true, 0.0f});  // queries 0 to 2 see nothing
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t d = 0; d < 4; ++d) p.q.at(i, d) = p.upper.at(i, d) = NAN;
  }
  for (const FloatKernels* kernels : available_kernels()) {
    std::vector<float> weights(10, NAN);
    Rows out(5, 4, 4, 1), grad_q = p.q, grad_k = p.k, grad_v = p.v;
    kernels->attention_forward(p.head, weights.data(), out.data.data(), 4);
    kernels->attention_backward(p.head, weights.data(), p.upper.data.data(), p.upper.stride, grad_q.data.data(),
                                grad_k.data.data(), grad_v.data.data(), nullptr);
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t d = 0; d < 4; ++d) CHECK((out.at(i, d) == 0 && grad_q.at(i, d) == 0));
    }
    CHECK(out.at(4, 0) != 0);
    for (const Rows* rows : {&grad_k, &grad_v}) {
      for (const float x : rows->data) CHECK(std::isfinite(x));
    }
  }
}
