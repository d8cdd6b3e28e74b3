#pragma once
// Random numbers in named streams. A stream is a counter-based generator: its n-th value is a hash of (key, n), with the key
// derived from the seed and the stream's name. So a new consumer shifts no other, any position can be reached at once, and
// the state to save is one integer. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood, 2014), applied twice.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace seqmill {

/// The value at `counter` of the stream `key`: 64 independent-looking bits.
uint64_t random_bits(uint64_t key, uint64_t counter);

class Rng {
 public:
  /// The stream `name` ("data", "init", "dropout", "sample", ...) under `seed`; `sub` numbers sub-streams (a line, an epoch).
  Rng(uint64_t seed, std::string_view name, uint64_t sub = 0);

  uint64_t next() { return random_bits(key_, counter_++); }
  /// Uniform in [0, 1) with 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Uniform in 0..bound-1 without bias; bound > 0.
  uint64_t below(uint64_t bound);
  /// Standard normal (Box-Muller; uses two values each time).
  double normal();

  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

  uint64_t key() const { return key_; }
  uint64_t counter() const { return counter_; }
  void set_counter(uint64_t counter) { counter_ = counter; }

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace seqmill
