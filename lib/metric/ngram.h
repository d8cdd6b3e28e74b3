#pragma once
// Counting n-grams without making strings of them. A line's tokens become small integers, and an n-gram is a path in a trie
// over these integers, so that equality is exact (no hash decides it) and nothing is allocated once the tables have grown.

#include <cstdint>
#include <string_view>
#include <vector>

namespace seqmill::metric {

/// Numbers the distinct tokens of one line and its references: 0, 1, 2, ...; the views given must outlive their use here.
class LineVocabulary {
 public:
  /// Forgets everything and makes room for `tokens` tokens.
  void begin(size_t tokens);
  uint32_t id(std::string_view token);
  /// Appends the ids of `tokens` to `ids`.
  void append_ids(const std::vector<std::string_view>& tokens, std::vector<uint32_t>& ids);

 private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t epoch = 0;
    uint32_t id = 0;
    std::string_view token;
  };
  std::vector<Slot> slots_;
  size_t mask_ = 0;
  uint32_t epoch_ = 0;
  uint32_t next_ = 0;
};

/// Clipped n-gram matches of one hypothesis against one or more references: an n-gram counts at most as often as in the
/// reference that has it most often (Papineni et al., 2002, section 2.1).
class NgramMatcher {
 public:
  explicit NgramMatcher(int max_order) : max_order_(max_order) {}

  /// Forgets everything and makes room for references of `symbols` symbols in all.
  void begin(size_t symbols);
  void add_reference(const uint32_t* symbols, size_t size);
  /// Adds to matches[0..max_order-1] the matches of each order. Once per `begin`.
  void match(const uint32_t* symbols, size_t size, int64_t* matches);

  /// N-grams of `order` in a sequence of `size` symbols.
  static int64_t total(size_t size, int order) {
    return size >= static_cast<size_t>(order) ? static_cast<int64_t>(size) - order + 1 : 0;
  }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t epoch = 0;
    uint32_t node = 0;
  };
  struct Node {
    uint32_t reference = 0;  // the reference that `count` belongs to
    uint32_t count = 0;
    uint32_t available = 0;  // the largest count of any reference, less what the hypothesis used
  };
  Slot& find(uint32_t parent, uint32_t symbol);

  int max_order_;
  std::vector<Slot> slots_;
  std::vector<Node> nodes_;
  int shift_ = 63;
  size_t mask_ = 0;
  uint32_t epoch_ = 0;
  uint32_t reference_ = 0;
};

}  // namespace seqmill::metric
