// The rate at which this machine multiplies matrices, through the function that training uses: the limit that training is measured by.
// usage: gemm-rate THREADS M N K   ->   {"fp32":GFLOP/s,"bf16":GFLOP/s}

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "base/threads.h"
#include "kernel/gemm.h"

using namespace seqmill;

namespace {

/// The median over several products, in 10^9 operations per second.
template <typename Number>
double rate(int64_t m, int64_t n, int64_t k) {
  const std::vector<Number> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n));
  std::vector<float> c(static_cast<size_t>(m * n));
  std::vector<double> rates;
  for (int run = 0; run < 12; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    kernel::gemm(false, true, m, n, k, a.data(), k, b.data(), k, 0, c.data(), n);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (run >= 3) rates.push_back(2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / seconds);
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: gemm-rate THREADS M N K\n");
    return 2;
  }
  set_threads(std::atoi(argv[1]));
  const int64_t m = std::atoll(argv[2]), n = std::atoll(argv[3]), k = std::atoll(argv[4]);
  fmt::print("{{\"fp32\":{:.1f},\"bf16\":{:.1f}}}\n", rate<float>(m, n, k),
             kernel::has_bfloat16() ? rate<kernel::BFloat16>(m, n, k) : 0.0);
}
