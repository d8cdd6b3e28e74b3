#include "metric/ter_edits.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace seqmill::metric {
namespace {

constexpr int kMaxBlock = 10;
constexpr int kMaxDistance = 50;
constexpr int kMaxCandidates = 1000;
constexpr int kBeam = 25;
constexpr int kInfinity = 1 << 28;

using Words = std::vector<uint32_t>;

// The cells of the edit-distance matrix that the search may use: row i (i hypothesis words read) spans columns begin(i) to
// end(i). Shifts keep the length, so one layout serves a whole line. Rows lie in one array, each with a column of infinity
// before it and columns of infinity behind it as far as the next row reaches.
class Band {
 public:
  Band(int hypothesis, int reference) {
    const double ratio = hypothesis > 0 ? static_cast<double>(reference) / hypothesis : 1.0;
    const int beam = kBeam < ratio / 2 ? static_cast<int>(std::ceil(ratio / 2 + kBeam)) : kBeam;
    rows_.resize(static_cast<size_t>(hypothesis) + 1);
    rows_[0] = {0, reference + 1, 0};
    for (int i = 1; i <= hypothesis; ++i) {
      const int diagonal = static_cast<int>(std::floor(i * ratio));
      const int end = i == hypothesis ? reference + 1 : std::min(reference + 1, diagonal + beam);
      rows_[static_cast<size_t>(i)] = {std::max(0, diagonal - beam), end, 0};
    }
    ptrdiff_t offset = 1;
    for (size_t i = 0; i < rows_.size(); ++i) {
      rows_[i].offset = offset - rows_[i].begin;
      const int last = i + 1 < rows_.size() ? std::max(rows_[i].end, rows_[i + 1].end) : rows_[i].end;
      offset += last - rows_[i].begin + 2;
    }
    size_ = static_cast<size_t>(offset);
  }

  size_t size() const { return size_; }
  int begin(int row) const { return rows_[static_cast<size_t>(row)].begin; }
  int end(int row) const { return rows_[static_cast<size_t>(row)].end; }
  /// Column j of `row` is cells[offset(row) + j].
  ptrdiff_t offset(int row) const { return rows_[static_cast<size_t>(row)].offset; }

 private:
  struct Row {
    int begin, end;
    ptrdiff_t offset;
  };
  std::vector<Row> rows_;
  size_t size_ = 0;
};

struct Shift {
  int gain = 0, length = 0, start = 0, target = 0;
  bool valid = false;

  // Tercom's ranking: largest gain, then longest block, then earliest block, then earliest target.
  bool beats(const Shift& other) const {
    if (!other.valid) return true;
    if (gain != other.gain) return gain > other.gain;
    if (length != other.length) return length > other.length;
    if (start != other.start) return start < other.start;
    return target < other.target;
  }
};

struct Span {
  int begin, end;
};

class EditSearch {
 public:
  EditSearch(const Words& hypothesis, const Words& reference)
      : words_(hypothesis),
        reference_(reference),
        rows_(static_cast<int>(hypothesis.size())),
        columns_(static_cast<int>(reference.size())),
        band_(rows_, columns_),
        forward_(band_.size(), kInfinity),
        backward_(band_.size(), kInfinity),
        trial_(band_.size(), kInfinity) {}

  int64_t run() {
    int64_t shifts = 0;
    fill_forward(words_, forward_, 0, rows_);
    for (;;) {
      fill_backward();
      const Shift best = find_best_shift();
      if (candidates_ >= kMaxCandidates || best.gain <= 0) break;
      const Span changed = apply(best.start, best.length, best.target, words_, moved_);
      words_.swap(moved_);
      fill_forward(words_, forward_, changed.begin, rows_);
      ++shifts;
    }
    return shifts + distance();
  }

 private:
  int distance() const { return forward_[static_cast<size_t>(band_.offset(rows_) + columns_)]; }

  // Rows first+1..last of the cost of reaching each cell; row `first` is there (row 0 costs one insertion per column).
  void fill_forward(const Words& words, std::vector<int>& cells, int first, int last) {
    if (first == 0) {
      for (int j = 0; j <= columns_; ++j) cells[static_cast<size_t>(band_.offset(0) + j)] = j;
    }
    for (int i = first + 1; i <= last; ++i) {
      const int* above = cells.data() + band_.offset(i - 1);
      int* row = cells.data() + band_.offset(i);
      const uint32_t word = words[static_cast<size_t>(i) - 1];
      int j = band_.begin(i);
      const int end = band_.end(i);
      int left = kInfinity;
      if (j == 0) {
        left = row[0] = above[0] + 1;
        j = 1;
      }
      const uint32_t* reference = reference_.data() - 1;
      for (; j < end; ++j) {
        const int substitute = above[j - 1] + (word != reference[j]);
        const int vertical = std::min(substitute, above[j] + 1);
        left = std::min(vertical, left + 1);
        row[j] = left;
      }
    }
  }

  // The cost of getting from each cell to the last one. With it, a shift is scored from the rows it changes alone: the cheapest
  // path through the first unchanged row behind them.
  void fill_backward() {
    int* row = backward_.data() + band_.offset(rows_);
    for (int j = band_.begin(rows_); j <= columns_; ++j) row[j] = columns_ - j;
    for (int i = rows_ - 1; i >= 0; --i) {
      const int* below = backward_.data() + band_.offset(i + 1);
      row = backward_.data() + band_.offset(i);
      const uint32_t word = words_[static_cast<size_t>(i)];
      const int below_begin = band_.begin(i + 1), below_end = band_.end(i + 1);
      int right = kInfinity;
      for (int j = band_.end(i) - 1; j >= band_.begin(i); --j) {
        int best = right + 1;
        if (j >= below_begin && j < below_end) best = std::min(best, below[j] + 1);
        if (j + 1 >= below_begin && j + 1 < below_end) {
          best = std::min(best, below[j + 1] + (word != reference_[static_cast<size_t>(j)]));
        }
        row[j] = right = best;
      }
    }
  }

  // Reads the cheapest path backwards, preferring substitution or match, then deletion, then insertion. Fills, for each
  // reference word, the last hypothesis word before or at it, and running counts of words in error on both sides.
  void align() {
    alignment_.assign(static_cast<size_t>(columns_), -1);
    hypothesis_errors_.assign(static_cast<size_t>(rows_) + 1, 0);
    reference_errors_.assign(static_cast<size_t>(columns_) + 1, 0);
    int i = rows_, j = columns_;
    while (i > 0 || j > 0) {
      const int cost = forward_[static_cast<size_t>(band_.offset(i) + j)];
      const int* above = i > 0 ? forward_.data() + band_.offset(i - 1) : nullptr;
      const bool differ = i > 0 && j > 0 && words_[static_cast<size_t>(i) - 1] != reference_[static_cast<size_t>(j) - 1];
      if (i > 0 && j > 0 && above[j - 1] + differ == cost) {
        --i, --j;
        alignment_[static_cast<size_t>(j)] = i;
        hypothesis_errors_[static_cast<size_t>(i) + 1] = differ;
        reference_errors_[static_cast<size_t>(j) + 1] = differ;
      } else if (i > 0 && (j == 0 || above[j] + 1 == cost)) {
        hypothesis_errors_[static_cast<size_t>(i--)] = 1;
      } else {
        --j;
        alignment_[static_cast<size_t>(j)] = i - 1;
        reference_errors_[static_cast<size_t>(j) + 1] = 1;
      }
    }
    for (size_t k = 1; k < hypothesis_errors_.size(); ++k) hypothesis_errors_[k] += hypothesis_errors_[k - 1];
    for (size_t k = 1; k < reference_errors_.size(); ++k) reference_errors_[k] += reference_errors_[k - 1];
  }

  Shift find_best_shift() {
    align();
    Shift best;
    tried_.assign(static_cast<size_t>(kMaxBlock + 1) * (static_cast<size_t>(rows_) + 1), -1);
    for (int start = 0; start < rows_; ++start) {
      const int first = std::max(0, start - kMaxDistance), last = std::min(columns_ - 1, start + kMaxDistance);
      for (int goal = first; goal <= last; ++goal) {
        for (int length = 1; extends_match(start, goal, length); ++length) {
          if (!worth_trying(start, goal, length)) continue;
          try_targets(start, goal, length, best);
          if (candidates_ >= kMaxCandidates) return best;
        }
      }
    }
    return best;
  }

  // Whether words start..start+length of the hypothesis equal those from `goal` on in the reference, given that all but the
  // last do.
  bool extends_match(int start, int goal, int length) const {
    return length <= kMaxBlock && start + length <= rows_ && goal + length <= columns_ &&
           words_[static_cast<size_t>(start + length) - 1] == reference_[static_cast<size_t>(goal + length) - 1];
  }

  // A block is moved only if some of its words are wrong where they are, and some of its goal is not matched yet by other words.
  bool worth_trying(int start, int goal, int length) const {
    const auto errors = [length](const std::vector<int>& running, int begin) {
      return running[static_cast<size_t>(begin + length)] - running[static_cast<size_t>(begin)];
    };
    if (errors(hypothesis_errors_, start) == 0 || errors(reference_errors_, goal) == 0) return false;
    const int aligned = alignment_[static_cast<size_t>(goal)];
    return aligned < start || aligned >= start + length;
  }

  // Every place behind a hypothesis word that is aligned to the goal or to the word before it.
  void try_targets(int start, int goal, int length, Shift& best) {
    int previous = -1;
    for (int offset = -1; offset < length; ++offset) {
      const int target = goal + offset < 0 ? 0 : alignment_[static_cast<size_t>(goal + offset)] + 1;
      if (target == previous) continue;
      previous = target;
      ++candidates_;
      // The same move, reached from another place in the reference, cannot beat itself.
      int& tried = tried_[static_cast<size_t>(length) * (static_cast<size_t>(rows_) + 1) + static_cast<size_t>(target)];
      if (tried == start) continue;
      tried = start;
      const Shift shift{distance() - distance_after(start, length, target), length, start, target, true};
      if (shift.beats(best)) best = shift;
    }
  }

  // Writes `from` with the block moved to `to`; returns the span of positions that may differ. A target inside the block moves
  // it right by as many words as the target lies behind its start, as Tercom does.
  static Span apply(int start, int length, int target, const Words& from, Words& to) {
    to = from;
    const auto at = [&to](int position) { return to.begin() + position; };
    if (target < start) {
      std::rotate(at(target), at(start), at(start + length));
      return {target, start + length};
    }
    const int size = static_cast<int>(from.size());
    const int end = target > start + length ? target : std::min(size, target + length);
    std::rotate(at(start), at(start + length), at(end));
    return {start, end};
  }

  int distance_after(int start, int length, int target) {
    const Span changed = apply(start, length, target, words_, moved_);
    if (changed.begin == 0) {
      fill_forward(moved_, trial_, 0, changed.end);
    } else {
      const ptrdiff_t from = band_.offset(changed.begin) + band_.begin(changed.begin);
      const ptrdiff_t to = band_.offset(changed.begin) + band_.end(changed.begin);
      std::copy(forward_.begin() + from, forward_.begin() + to, trial_.begin() + from);
      fill_forward(moved_, trial_, changed.begin, changed.end);
    }
    const int* reached = trial_.data() + band_.offset(changed.end);
    const int* rest = backward_.data() + band_.offset(changed.end);
    int best = kInfinity;
    for (int j = band_.begin(changed.end); j < band_.end(changed.end); ++j) best = std::min(best, reached[j] + rest[j]);
    return best;
  }

  Words words_;
  const Words& reference_;
  Words moved_;
  int rows_, columns_;
  Band band_;
  std::vector<int> forward_, backward_, trial_;
  std::vector<int> alignment_, hypothesis_errors_, reference_errors_, tried_;
  int candidates_ = 0;
};

}  // namespace

int64_t translation_edits(const std::vector<uint32_t>& hypothesis, const std::vector<uint32_t>& reference) {
  if (reference.empty()) return static_cast<int64_t>(hypothesis.size());
  if (hypothesis == reference) return 0;
  return EditSearch(hypothesis, reference).run();
}

}  // namespace seqmill::metric
