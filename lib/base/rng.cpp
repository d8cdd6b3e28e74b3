#include "base/rng.h"

#include <cmath>

namespace seqmill {
namespace {

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

}  // namespace

uint64_t random_bits(uint64_t key, uint64_t counter) { return mix(mix(key + kGolden * (counter + 1)) ^ key); }

Rng::Rng(uint64_t seed, std::string_view name, uint64_t sub) {
  uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a of the name
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  key_ = mix(mix(mix(seed + kGolden) ^ hash) + kGolden * (sub + 1));
}

uint64_t Rng::below(uint64_t bound) {
  const uint64_t reject = (0 - bound) % bound;  // 2^64 mod bound values at the low end would be counted once too often
  uint64_t value = next();
  while (value < reject) value = next();
  return value % bound;
}

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(6.283185307179586 * uniform());
}

}  // namespace seqmill
