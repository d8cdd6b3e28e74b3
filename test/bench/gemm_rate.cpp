// The rate at which this machine multiplies matrices, through the function that training uses: the limit that training is measured by. Of 8-bit integers
// through oneDNN's product of them, which is what decoding is measured by.
// usage: gemm-rate THREADS M N K   ->   {"fp32":GFLOP/s,"bf16":GFLOP/s,"int8":GOP/s}

#include <dnnl.h>
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
template <typename Product>
double rate(int64_t m, int64_t n, int64_t k, Product product) {
  std::vector<double> rates;
  for (int run = 0; run < 12; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    product();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (run >= 3) rates.push_back(2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / seconds);
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

template <typename Number>
double rate_of(int64_t m, int64_t n, int64_t k) {
  const std::vector<Number> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n));
  std::vector<float> c(static_cast<size_t>(m * n));
  return rate(m, n, k, [&] { kernel::gemm(false, true, m, n, k, a.data(), k, b.data(), k, 0, c.data(), n); });
}

double rate_of_integers(int64_t m, int64_t n, int64_t k) {
  const std::vector<uint8_t> a(static_cast<size_t>(m * k));
  const std::vector<int8_t> b(static_cast<size_t>(k * n));
  std::vector<int32_t> c(static_cast<size_t>(m * n));
  const int32_t nothing = 0;
  return rate(m, n, k, [&] { dnnl_gemm_u8s8s32('N', 'T', 'F', m, n, k, 1, a.data(), k, 0, b.data(), k, 0, 0, c.data(), n, &nothing); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    fmt::print(stderr, "usage: gemm-rate THREADS M N K\n");
    return 2;
  }
  set_threads(std::atoi(argv[1]));
  const int64_t m = std::atoll(argv[2]), n = std::atoll(argv[3]), k = std::atoll(argv[4]);
  fmt::print("{{\"fp32\":{:.1f},\"bf16\":{:.1f},\"int8\":{:.1f}}}\n", rate_of<float>(m, n, k), kernel::has_bfloat16() ? rate_of<kernel::BFloat16>(m, n, k) : 0.0,
             rate_of_integers(m, n, k));
}
