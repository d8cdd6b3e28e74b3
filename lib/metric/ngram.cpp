#include "metric/ngram.h"

#include <algorithm>
#include <functional>

namespace seqmill::metric {
namespace {

// Smallest power of two that holds `entries` at half load.
int table_bits(size_t entries) {
  int bits = 4;
  while ((size_t{1} << bits) < 2 * entries) ++bits;
  return bits;
}

// Slots of an older epoch count as free, so that starting a line costs nothing. When the counter wraps, all are wiped.
template <typename Slot>
void start_epoch(std::vector<Slot>& slots, size_t size, uint32_t& epoch) {
  if (slots.size() < size) slots.resize(size);
  if (++epoch == 0) {
    for (Slot& slot : slots) slot.epoch = 0;
    epoch = 1;
  }
}

}  // namespace

void LineVocabulary::begin(size_t tokens) {
  const size_t size = size_t{1} << table_bits(tokens);
  mask_ = size - 1;
  next_ = 0;
  start_epoch(slots_, size, epoch_);
}

uint32_t LineVocabulary::id(std::string_view token) {
  const uint64_t hash = std::hash<std::string_view>{}(token);
  for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.epoch != epoch_) {
      slot = {hash, epoch_, next_, token};
      return next_++;
    }
    if (slot.hash == hash && slot.token == token) return slot.id;
  }
}

void LineVocabulary::append_ids(const std::vector<std::string_view>& tokens, std::vector<uint32_t>& ids) {
  for (const std::string_view token : tokens) ids.push_back(id(token));
}

void NgramMatcher::begin(size_t symbols) {
  const int bits = table_bits(symbols * static_cast<size_t>(max_order_));
  shift_ = 64 - bits;
  mask_ = (size_t{1} << bits) - 1;
  reference_ = 0;
  nodes_.assign(1, Node{});  // the root
  start_epoch(slots_, mask_ + 1, epoch_);
}

NgramMatcher::Slot& NgramMatcher::find(uint32_t parent, uint32_t symbol) {
  const uint64_t key = (static_cast<uint64_t>(parent) << 32) | symbol;
  uint64_t mixed = key * 0x9E3779B97F4A7C15u;
  mixed ^= mixed >> 32;
  mixed *= 0x9E3779B97F4A7C15u;
  for (size_t i = mixed >> shift_;; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.epoch != epoch_) {
      slot.key = key;  // `epoch` stays old: the caller takes the slot by setting it
      return slot;
    }
    if (slot.key == key) return slot;
  }
}

void NgramMatcher::add_reference(const uint32_t* symbols, size_t size) {
  ++reference_;
  for (size_t begin = 0; begin < size; ++begin) {
    uint32_t node = 0;
    const size_t end = std::min(size, begin + static_cast<size_t>(max_order_));
    for (size_t i = begin; i < end; ++i) {
      Slot& slot = find(node, symbols[i]);
      if (slot.epoch != epoch_) {
        slot.epoch = epoch_;
        slot.node = static_cast<uint32_t>(nodes_.size());
        nodes_.push_back({});
      }
      node = slot.node;
      Node& entry = nodes_[node];
      if (entry.reference != reference_) {
        entry.reference = reference_;
        entry.count = 0;
      }
      entry.available = std::max(entry.available, ++entry.count);
    }
  }
}

void NgramMatcher::match(const uint32_t* symbols, size_t size, int64_t* matches) {
  for (size_t begin = 0; begin < size; ++begin) {
    uint32_t node = 0;
    const size_t end = std::min(size, begin + static_cast<size_t>(max_order_));
    for (size_t i = begin; i < end; ++i) {
      const Slot& slot = find(node, symbols[i]);
      if (slot.epoch != epoch_) break;  // no reference has this n-gram, so none has a longer one that starts here
      node = slot.node;
      if (nodes_[node].available > 0) {
        --nodes_[node].available;
        ++matches[i - begin];
      }
    }
  }
}

}  // namespace seqmill::metric
