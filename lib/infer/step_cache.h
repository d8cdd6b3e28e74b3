#pragma once
// What decoders keep of earlier steps. It stays where it was written; rows that live on know which row of each step they come from, so that nothing is
// copied when a beam changes its order.

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/buffer.h"

namespace seqmill::infer {

/// Sentences under way: the rows that their tokens have in the encoder, and which of them a row of the present step belongs to.
class Sentences {
 public:
  template <typename Tokens>
  explicit Sentences(const std::vector<Tokens>& sources) {
    for (const Tokens& source : sources) {
      of_row_.push_back(static_cast<int32_t>(begins_.size()));
      begins_.push_back(tokens_);
      lengths_.push_back(static_cast<int64_t>(source.size()));
      tokens_ += lengths_.back();
    }
  }

  int64_t count() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t tokens() const { return tokens_; }  ///< of all of them
  int64_t begin(size_t sentence) const { return begins_[sentence]; }
  int64_t length(size_t sentence) const { return lengths_[sentence]; }

  /// Row i continues row parents[i]; before the first step row i is sentence i.
  void begin_step(const std::vector<int32_t>& parents) {
    next_.clear();
    for (const int32_t parent : parents) next_.push_back(of_row_.at(static_cast<size_t>(parent)));
    std::swap(of_row_, next_);
  }
  size_t of_row(int64_t row) const { return static_cast<size_t>(of_row_[static_cast<size_t>(row)]); }

 private:
  int64_t tokens_ = 0;
  std::vector<int64_t> begins_, lengths_;
  std::vector<int32_t> of_row_, next_;
};

/// By row of the present step: the row of each step, the oldest first, that it continues.
class StepOrigins {
 public:
  /// Row i continues row parents[i].
  void begin_step(const std::vector<int32_t>& parents) {
    const auto rows = static_cast<int64_t>(parents.size());
    if (capacity_ <= length_) capacity_ = 2 * length_ + 16;
    next_.room_for(rows * capacity_);
    for (int64_t i = 0; i < rows; ++i) {
      int32_t* to = next_.data() + i * capacity_;
      if (length_ > 0) std::memcpy(to, row(parents[static_cast<size_t>(i)]), static_cast<size_t>(length_) * sizeof(int32_t));
      to[length_] = static_cast<int32_t>(i);
    }
    std::swap(rows_, next_);
    stride_ = capacity_;
    ++length_;
  }

  int64_t length() const { return length_; }  ///< steps so far
  const int32_t* row(int64_t index) const { return rows_.data() + index * stride_; }

 private:
  int64_t length_ = 0, capacity_ = 0, stride_ = 0;
  Buffer<int32_t> rows_, next_;
};

/// `width` numbers for each layer and each row of each step.
template <typename Number>
class StepStore {
 public:
  /// `blocks` is its memory, which may go from store to store.
  StepStore(int64_t layers, int64_t width, std::vector<Buffer<Number>>& blocks) : layers_(layers), width_(width), blocks_(blocks) {}

  void begin_step(int64_t rows) { steps_.push_back({room_for(layers_ * rows * width_), rows}); }

  /// Where the numbers of a row go in the present step.
  Number* place(int64_t layer, int64_t row) { return steps_.back().numbers + (layer * steps_.back().rows + row) * width_; }

  /// The numbers that a row looks back to, the oldest first; until the next call.
  const Number* const* of_row(int64_t layer, const int32_t* origins) {
    found_.resize(steps_.size());
    for (size_t t = 0; t < steps_.size(); ++t) found_[t] = steps_[t].numbers + (layer * steps_[t].rows + origins[t]) * width_;
    return found_.data();
  }

 private:
  struct Step {
    Number* numbers;  ///< [layers, rows, width]
    int64_t rows;
  };

  /// From blocks that each serve several steps.
  Number* room_for(int64_t count) {
    constexpr int64_t kStepsAhead = 4;
    if (left_ < count) {
      left_ = kStepsAhead * count;
      if (used_ == blocks_.size()) blocks_.emplace_back();
      next_ = blocks_[used_++].room_for(left_);
    }
    Number* room = next_;
    next_ += count;
    left_ -= count;
    return room;
  }

  int64_t layers_, width_;
  std::vector<Buffer<Number>>& blocks_;
  size_t used_ = 0;  ///< of the blocks
  Number* next_ = nullptr;
  int64_t left_ = 0;
  std::vector<Step> steps_;
  std::vector<const Number*> found_;
};

}  // namespace seqmill::infer
