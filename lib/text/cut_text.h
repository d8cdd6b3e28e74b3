#pragma once
// Texts that lose one of their ends, in tokens and whole characters.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace seqmill::text {

/// A k of least..most with size(k) <= room: one with size(k) == room, or else the largest, where sizes grow with k; least - 1 when there is none. The nearer the guess, the
/// fewer calls.
template <typename Size>
int64_t largest_fitting(int64_t least, int64_t most, int64_t guess, int64_t room, Size size) {
  int64_t fitting = least - 1, failing = most + 1, step = 0;
  for (int64_t k = guess; fitting + 1 < failing;) {
    const bool enclosed = fitting >= least && failing <= most;
    k = enclosed ? fitting + (failing - fitting) / 2 : std::clamp(k, fitting + 1, failing - 1);
    const int64_t found = size(k);
    if (found == room) return k;
    step = std::max({int64_t{1}, 2 * step, found > room ? found - room : room - found});
    if (found <= room) {
      fitting = k;
      k += step;
    } else {
      failing = k;
      k -= step;
    }
  }
  return fitting;
}

/// A text of which the beginning, or the end, is to stay. Text and tokeniser must outlive it.
class CutText {
 public:
  enum class Keep { kFirst, kLast };

  CutText(const Tokenizer& tokenizer, const std::string& text, Keep keep);

  int64_t tokens() const { return static_cast<int64_t>(ids_.size()); }  ///< of the whole text
  /// A part of so many tokens, or the longest with fewer where there is none; "" where a character alone has more.
  std::string at_most(int64_t tokens) const;
  /// The part of so many characters, at most all.
  std::string characters(int64_t count) const;

 private:
  const Tokenizer& tokenizer_;
  const std::string& text_;
  Keep keep_;
  std::vector<int32_t> ids_;
  std::vector<size_t> sizes_;  // in bytes, of parts of 0, 1, 2... characters
};

}  // namespace seqmill::text
