#pragma once
// Byte pair encoding of words (Sennrich et al., 2016, "Neural Machine Translation of Rare Words with Subword Units") over bytes (Radford et al., 2019, GPT-2).

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace seqmill::text {

/// Bytes in the printable characters by which the files of byte-level tokenisers spell them: "\n" is "Ċ", " " is "Ġ".
/// Returns the bytes, or the text itself when it holds another character.
std::string bytes_of_spelling(std::string_view spelling);
/// The character that spells a byte, in UTF-8.
std::string spelling_of_byte(unsigned char byte);

class BytePairs {
 public:
  struct Merge {
    int32_t left, right, result;
  };
  /// A word under way, kept between calls for its memory.
  class Scratch {
   public:
    size_t capacity() const { return symbols.capacity(); }

   private:
    friend class BytePairs;
    struct Symbol {
      int32_t id, previous, next;  // -1: none; an id of -1 was merged away
    };
    struct Candidate {
      int32_t rank, position, result;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
  };

  /// `words[id]`: what an id stands for, in bytes, "" for what is never the outcome of merging. Every byte that UTF-8 has must be a word. `merges` by rank, first
  /// come first merged, no pair twice. `whole_words_first`: a text that is a word is never split, whatever the merges say. `words` must outlive it.
  BytePairs(const std::vector<std::string>& words, const std::vector<Merge>& merges, bool whole_words_first);

  /// Appends the ids of a text. Thread-safe, each thread with its own scratch.
  void encode(std::string_view text, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  // The merges, by pair, in an open-addressed table: the look-up is what encoding spends its time on.
  struct Slot {
    uint64_t pair = kEmpty;
    int32_t rank = 0, result = 0;
  };
  static constexpr uint64_t kEmpty = UINT64_MAX;

  static uint64_t pair_of(int32_t left, int32_t right) { return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right); }
  size_t place_of(uint64_t pair) const { return static_cast<size_t>((pair * 0x9E3779B97F4A7C15U) >> shift_); }
  const Slot* find(int32_t left, int32_t right) const;
  void insert(const Merge& merge, int32_t rank);
  void consider(int32_t position, Scratch& scratch) const;
  void merge_all(std::string_view text, Scratch& scratch) const;

  bool whole_words_first_;
  std::unordered_map<std::string_view, int32_t> ids_;
  int32_t byte_ids_[256];
  int shift_ = 63;
  std::vector<Slot> slots_;
  // Of a word: whether its merges lead to the word itself, so that it can be looked up instead; found out when it first occurs.
  enum : uint8_t { kUntried, kWhole, kInParts };
  std::unique_ptr<std::atomic<uint8_t>[]> outcome_;
};

}  // namespace seqmill::text
