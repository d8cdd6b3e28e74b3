#pragma once
// Keys and values of sequences under way, in pages that sequences of the same beginning share.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/buffer.h"

namespace seqmill::infer {

/// Pages of some tokens, each token having `parts` times `width` numbers: its keys and values by layer and head. What attention looks at together lies together: a
/// page is [parts, kTokens, width]. Pages are taken and given back without asking the system for memory once there were enough of them.
template <typename Number>
class KeyPages {
 public:
  static constexpr int64_t kTokens = 16;

  KeyPages(int64_t parts, int64_t width) : parts_(parts), width_(width) {}

  /// A page of one user.
  int32_t take() {
    if (free_.empty()) grow();
    const int32_t page = free_.back();
    free_.pop_back();
    users_[static_cast<size_t>(page)] = 1;
    return page;
  }
  void add_user(int32_t page) { ++users_[static_cast<size_t>(page)]; }
  void remove_user(int32_t page) {
    if (--users_[static_cast<size_t>(page)] == 0) free_.push_back(page);
  }
  bool is_shared(int32_t page) const { return users_[static_cast<size_t>(page)] > 1; }
  /// Of how many pages there are, the ones with users.
  int64_t used() const { return static_cast<int64_t>(users_.size() - free_.size()); }

  /// The first part of a token; the others are part_stride() behind each other.
  Number* token(int32_t page, int64_t index) { return pages_[static_cast<size_t>(page)] + index * width_; }
  int64_t part_stride() const { return kTokens * width_; }

  /// The first `tokens` of them.
  void copy(int32_t from, int32_t to, int64_t tokens) {
    for (int64_t part = 0; part < parts_; ++part) {
      std::memcpy(token(to, 0) + part * part_stride(), token(from, 0) + part * part_stride(), static_cast<size_t>(tokens * width_) * sizeof(Number));
    }
  }

 private:
  void grow() {
    constexpr int64_t kMostAtOnce = int64_t{64} << 20;  // bytes
    const int64_t size = parts_ * part_stride(), bytes = size * static_cast<int64_t>(sizeof(Number));
    const int64_t count = std::clamp<int64_t>(kMostAtOnce / bytes, 1, std::max<int64_t>(4, static_cast<int64_t>(users_.size())));
    Buffer<Number> slab(count * size);
    free_.reserve(users_.size() + static_cast<size_t>(count));
    pages_.reserve(users_.size() + static_cast<size_t>(count));
    slabs_.push_back(std::move(slab));
    for (int64_t i = 0; i < count; ++i) {
      pages_.push_back(slabs_.back().data() + i * size);
      free_.push_back(static_cast<int32_t>(users_.size()));
      users_.push_back(0);
    }
  }

  int64_t parts_, width_;
  std::vector<Buffer<Number>> slabs_;
  std::vector<Number*> pages_;
  std::vector<int32_t> users_, free_;
};

/// The tokens of a sequence, and where their keys are.
template <typename Number>
class PagedSequence {
 public:
  int64_t length() const { return length_; }
  /// The first parts of a token and of those behind it. Of those that were forgotten they are nowhere.
  const Number* const* tokens(int64_t first) const { return tokens_.data() + first; }
  Number* token(int64_t index) const { return tokens_[static_cast<size_t>(index)]; }

  /// Room for `count` more tokens that no other sequence sees. The sequence is as long as before.
  void make_room(KeyPages<Number>& pages, int64_t count) {
    constexpr int64_t kTokens = KeyPages<Number>::kTokens;
    const int64_t filled = length_ % kTokens;
    const auto present = static_cast<size_t>(length_ / kTokens);
    if (filled > 0 && pages.is_shared(pages_[present])) {
      const int32_t own = pages.take();
      pages.copy(pages_[present], own, filled);
      pages.remove_user(pages_[present]);
      pages_[present] = own;
      for (int64_t i = 0; i < filled; ++i) tokens_[static_cast<size_t>(length_ - filled + i)] = pages.token(own, i);
    }
    tokens_.resize(static_cast<size_t>(length_));
    for (int64_t position = length_; position < length_ + count; ++position) {
      const auto page = static_cast<size_t>(position / kTokens);
      if (page == pages_.size()) pages_.push_back(pages.take());
      tokens_.push_back(pages.token(pages_[page], position % kTokens));
    }
  }
  /// The room that was made is filled, or will be.
  void extend(int64_t count) { length_ += count; }

  /// Gives back the pages that no token sees any more, when tokens see the last `window`.
  void forget_before_window(KeyPages<Number>& pages, int64_t window) {
    for (; (forgotten_ + 1) * KeyPages<Number>::kTokens <= length_ + 1 - window; ++forgotten_) pages.remove_user(pages_[static_cast<size_t>(forgotten_)]);
  }

  /// The same sequence once more.
  PagedSequence branch(KeyPages<Number>& pages) const {
    PagedSequence copy = *this;
    for (size_t i = static_cast<size_t>(forgotten_); i < pages_.size(); ++i) pages.add_user(pages_[i]);
    return copy;
  }
  void end(KeyPages<Number>& pages) {
    for (size_t i = static_cast<size_t>(forgotten_); i < pages_.size(); ++i) pages.remove_user(pages_[i]);
    pages_.clear();
    tokens_.clear();
    length_ = forgotten_ = 0;
  }

 private:
  std::vector<int32_t> pages_;
  std::vector<Number*> tokens_;
  int64_t length_ = 0, forgotten_ = 0;  ///< tokens; pages
};

}  // namespace seqmill::infer
