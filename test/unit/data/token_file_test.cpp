#include "data/token_file.h"

#include <catch2/catch.hpp>

#include <numeric>

using namespace seqmill;
using data::Fingerprint;

namespace {

template <typename Number>
uint64_t of_bytes(const std::vector<Number>& numbers) {
  return Fingerprint().add_bytes(numbers.data(), numbers.size() * sizeof(Number)).value();
}

}  // namespace

TEST_CASE("a fingerprint of bytes sees every one of them", "[fingerprint]") {
  std::vector<unsigned char> bytes(29);
  std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(1));
  const uint64_t whole = of_bytes(bytes);
  CHECK(of_bytes(bytes) == whole);
  for (unsigned char& byte : bytes) {
    for (const unsigned char bit : {1, 0x80}) {
      byte ^= bit;
      CHECK(of_bytes(bytes) != whole);
      byte ^= bit;
    }
  }
  bytes.push_back(0);
  CHECK(of_bytes(bytes) != whole);
}

TEST_CASE("a fingerprint of numbers sees the signs of two of them", "[fingerprint]") {
  const std::vector<double> doubles{1, 2, 3, 4};
  for (size_t a = 0; a < doubles.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      std::vector<double> turned = doubles;
      turned[a] = -turned[a];
      turned[b] = -turned[b];
      CHECK(of_bytes(turned) != of_bytes(doubles));
      std::swap(turned[a], turned[b]);
      CHECK(of_bytes(turned) != of_bytes(doubles));
    }
  }
  CHECK(of_bytes(std::vector<float>{1, -2, 3}) != of_bytes(std::vector<float>{1, 2, -3}));
}
