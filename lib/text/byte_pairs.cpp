#include "text/byte_pairs.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/unicode.h"

namespace seqmill::text {
namespace {

constexpr int kBytes = 256;

bool spells_itself(int byte) { return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE; }

// Bytes that are no printable characters of Latin-1 are spelt by the code points from 256 on, in order.
struct Spelling {
  std::array<char32_t, kBytes> character{};
  std::array<int, 512> byte{};

  Spelling() {
    byte.fill(-1);
    char32_t next = kBytes;
    for (int b = 0; b < kBytes; ++b) {
      character[static_cast<size_t>(b)] = spells_itself(b) ? static_cast<char32_t>(b) : next++;
      byte[character[static_cast<size_t>(b)]] = b;
    }
  }
};

const Spelling& spelling() {
  static const Spelling table;
  return table;
}

bool occurs_in_utf8(int byte) { return byte != 0xC0 && byte != 0xC1 && byte < 0xF5; }

}  // namespace

std::string bytes_of_spelling(std::string_view text) {
  const Spelling& table = spelling();
  std::string bytes;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_code_point(text, i);
    if (c >= table.byte.size() || table.byte[c] < 0) return std::string(text);
    bytes += static_cast<char>(table.byte[c]);
  }
  return bytes;
}

std::string spelling_of_byte(unsigned char byte) {
  std::string text;
  append_utf8(text, spelling().character[byte]);
  return text;
}

BytePairs::BytePairs(const std::vector<std::string>& words, const std::vector<Merge>& merges, bool whole_words_first)
    : whole_words_first_(whole_words_first), outcome_(new std::atomic<uint8_t>[words.size()]) {
  ids_.reserve(words.size());
  for (size_t id = 0; id < words.size(); ++id) {
    outcome_[id].store(kUntried, std::memory_order_relaxed);
    if (!words[id].empty()) ids_.emplace(words[id], static_cast<int32_t>(id));
  }
  for (int byte = 0; byte < kBytes; ++byte) {
    const char text = static_cast<char>(byte);
    const auto found = ids_.find(std::string_view(&text, 1));
    byte_ids_[byte] = found == ids_.end() ? -1 : found->second;
    if (byte_ids_[byte] < 0 && occurs_in_utf8(byte)) {
      fail("the vocabulary has no piece for the byte 0x{:02X} (\"{}\")", byte, spelling_of_byte(static_cast<unsigned char>(byte)));
    }
  }
  while (merges.size() > (size_t{1} << (64 - shift_)) / 2) --shift_;
  slots_.resize(size_t{1} << (64 - shift_));
  for (size_t rank = 0; rank < merges.size(); ++rank) insert(merges[rank], static_cast<int32_t>(rank));
}

void BytePairs::insert(const Merge& merge, int32_t rank) {
  const uint64_t pair = pair_of(merge.left, merge.right);
  size_t place = place_of(pair);
  while (slots_[place].pair != kEmpty) place = (place + 1) & (slots_.size() - 1);
  slots_[place] = {pair, rank, merge.result};
}

const BytePairs::Slot* BytePairs::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (size_t place = place_of(pair);; place = (place + 1) & (slots_.size() - 1)) {
    if (slots_[place].pair == pair) return &slots_[place];
    if (slots_[place].pair == kEmpty) return nullptr;
  }
}

namespace {
// The lowest rank first, and of equal ones the leftmost; the standard heaps keep the largest in front.
constexpr auto kIsLater = [](const auto& a, const auto& b) { return a.rank != b.rank ? a.rank > b.rank : a.position > b.position; };
}  // namespace

// Queues the merge of the symbol at `position` with the one behind it, if there is one.
void BytePairs::consider(int32_t position, Scratch& scratch) const {
  const Scratch::Symbol& left = scratch.symbols[static_cast<size_t>(position)];
  if (left.next < 0) return;
  if (const Slot* merge = find(left.id, scratch.symbols[static_cast<size_t>(left.next)].id)) {
    scratch.queue.push_back({merge->rank, position, merge->result});
    std::push_heap(scratch.queue.begin(), scratch.queue.end(), kIsLater);
  }
}

void BytePairs::merge_all(std::string_view text, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  symbols.clear();
  queue.clear();
  const auto size = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < size; ++i) {
    symbols.push_back({byte_ids_[static_cast<unsigned char>(text[static_cast<size_t>(i)])], i - 1, i + 1 < size ? i + 1 : -1});
  }
  for (int32_t i = 0; i < size; ++i) consider(i, scratch);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), kIsLater);
    const Scratch::Candidate candidate = queue.back();
    queue.pop_back();
    Scratch::Symbol& left = symbols[static_cast<size_t>(candidate.position)];
    if (left.id < 0 || left.next < 0) continue;
    Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    // One of the two may have become another symbol since this merge was queued.
    const Slot* merge = find(left.id, right.id);
    if (!merge || merge->rank != candidate.rank) continue;
    left.id = candidate.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = candidate.position;
    if (left.previous >= 0) consider(left.previous, scratch);
    consider(candidate.position, scratch);
  }
}

void BytePairs::encode(std::string_view text, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (text.size() > INT32_MAX) fail("a word of {} bytes is too long for byte pair encoding, expected at most {}", text.size(), INT32_MAX);
  const auto known = ids_.find(text);
  std::atomic<uint8_t>* outcome = known == ids_.end() ? nullptr : &outcome_[static_cast<size_t>(known->second)];
  if (outcome && (whole_words_first_ || outcome->load(std::memory_order_relaxed) == kWhole)) {
    ids.push_back(known->second);
    return;
  }
  merge_all(text, scratch);
  const size_t before = ids.size();
  for (const Scratch::Symbol& symbol : scratch.symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
  if (outcome) {
    const bool is_whole = ids.size() == before + 1 && ids.back() == known->second;
    outcome->store(is_whole ? kWhole : kInParts, std::memory_order_relaxed);
  }
}

}  // namespace seqmill::text
