#pragma once
// Splitting a text by a regular expression, as the pre-tokenisers of byte-level BPE do.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace seqmill::text {

class SplitPattern {
 public:
  /// What one thread needs to match; serves any pattern.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class SplitPattern;
    struct State;
    std::unique_ptr<State> state_;
  };

  /// `literal`: the pattern is the text to be found. Throws Error that begins with `where` for a pattern that is none.
  SplitPattern(const std::string& pattern, bool literal, std::string where);
  ~SplitPattern();
  SplitPattern(SplitPattern&&) noexcept;
  SplitPattern& operator=(SplitPattern&&) noexcept;

  /// Appends the matches and what lies between them, in order, nothing empty; together they are the text, which must be valid UTF-8. Throws Error when a match
  /// takes more steps than an honest pattern needs. Thread-safe.
  void split(std::string_view text, Scratch& scratch, std::vector<std::string_view>& parts) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seqmill::text
