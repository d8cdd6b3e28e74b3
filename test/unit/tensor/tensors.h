#pragma once
// What the tests of the layers above LibTorch share.

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "base/rng.h"
#include "tensor/runtime.h"

namespace seqmill::test {

/// Standard normal numbers: the same ones, rounded to float, in every type.
inline at::Tensor normals(at::IntArrayRef shape, uint64_t seed, at::ScalarType type = at::kFloat) {
  Rng rng(seed, "test");
  at::Tensor values = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < values.numel(); ++i) values.data_ptr<float>()[i] = static_cast<float>(rng.normal());
  return values.to(type);
}

/// A copy that asks for its gradient.
inline at::Tensor leaf(const at::Tensor& values, at::ScalarType type = at::kFloat) {
  return values.detach().to(type, false, true).set_requires_grad(true);
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  const at::Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.numel() == 0 || std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

/// The largest absolute difference; NaN when there is a NaN; infinite when the shapes differ or one is undefined.
inline double difference(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined() || a.sizes() != b.sizes()) return INFINITY;
  if (a.numel() == 0) return 0;
  return (a.detach().to(at::kDouble) - b.detach().to(at::kDouble)).abs().max().item<double>();
}

/// The norm of the difference, relative to that of b.
inline double relative(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor exact = b.detach().to(at::kDouble);
  return (a.detach().to(at::kDouble) - exact).norm().item<double>() / exact.norm().item<double>();
}

/// Trains in this precision for as long as it lives.
struct WithPrecision {
  explicit WithPrecision(tensor::Precision precision) { tensor::set_precision(precision); }
  ~WithPrecision() { tensor::set_precision(tensor::Precision::kFloat32); }
};

/// Whether the gradient that `x` already holds is that of `value()`, by central differences in a few random directions.
template <typename Value>
void check_gradient(const at::Tensor& x, Value value, double tolerance = 2e-3) {
  REQUIRE(x.grad().defined());
  at::NoGradGuard no_grad;
  at::Tensor data = x.detach();
  const at::Tensor before = data.clone();
  constexpr double kStep = 0x1p-7;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const at::Tensor unit = normals(x.sizes(), 100 + seed, x.scalar_type());
    const at::Tensor direction = unit / unit.norm();
    data.copy_(before + direction * kStep);
    const double above = value();
    data.copy_(before - direction * kStep);
    const double below = value();
    data.copy_(before);
    const double slope = (x.grad() * direction).sum().template item<double>();
    CHECK((above - below) / (2 * kStep) == Approx(slope).epsilon(tolerance).margin(tolerance));
  }
}

}  // namespace seqmill::test
