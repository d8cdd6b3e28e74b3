#pragma once
// Records that compare answers with each other, in the shapes that preference data is published in (docs/formats.md#comparisons).

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "text/records.h"

namespace seqmill::text {

/// Answers to one prompt.
struct Comparison {
  std::string id, place;               ///< as of Record
  std::string subset;                  ///< "subset", "source", "domain" or "scenario" of the record, the first that it has; "" without
  std::vector<Message> messages;       ///< the prompt; its last message is the user's
  std::vector<std::string> responses;  ///< at least two
  std::vector<double> merits;          ///< one a response: the larger, the better; finite
  bool is_graded = false;              ///< merits are scores of the record, and their differences mean something; else only their order does
  std::optional<double> margin;        ///< by how much the better is better, where the record says just that; not less than 0, and 0 is no tie
  int64_t styles = 0;                  ///< s > 0: s good responses come first, then s bad ones, the k-th of each in the same style (RM-Bench); else 0
  io::Json json;                       ///< the whole record, unknown fields kept
};

/// One answer preferred to another of the same comparison.
struct Preference {
  size_t better = 0, worse = 0;
  double margin = 0;  ///< the record's own, or the difference of its scores; 1 where only their order is known
};

/// Texts whose lengths in characters differ by at most this share of the longer.
bool similar_lengths(const std::string& a, const std::string& b, double share);

/// All pairs of different merits: the better by index, then the worse.
std::vector<Preference> preferences_of(const Comparison& comparison);

/// What becomes of what records say about which answer is better.
enum class Verdicts {
  kRequired,
  kIgnored  ///< none need be there, and none is read: all merits are 0, and nothing is a tie or a contradiction
};

struct ComparisonOptions {
  /// Values of "label" (or "preference", "winner"; an entry may hold several, as "0,1,2") that say: the first is better, the second is better, and,
  /// optionally, neither. Empty: 1, A, a, "A>B", "first", "response_a"... or 2, B, b,
  /// "B>A", "second"...; "tie", "A=B", "both" for neither. A record whose label means neither is a tie. What 0 means has to be said.
  std::vector<std::string> labels;
  /// "prompt=question", "chosen=responses.good": which field of a record, or of an object in it, stands for one of ours; "margin=": none does.
  std::vector<std::string> fields;
  bool skip_bad = false;
  Verdicts verdicts = Verdicts::kRequired;  ///< not an option of the command line: the caller knows whether it looks at them

  void declare(Options& options);  ///< "labels", "fields", "skip-bad"
};

struct ComparisonCounts {
  int64_t records = 0;    ///< read, bad ones and ties included
  int64_t bad = 0;        ///< left out by skip_bad
  int64_t ties = 0;       ///< left out: no response is better than another
};

class ComparisonReader {
 public:
  /// `path`: JSON lines, or one JSON array of objects, plain or .gz, or "-".
  ComparisonReader(const std::string& path, const ComparisonOptions& options);
  ~ComparisonReader();
  /// The next comparison in which some response is better than another, or with Verdicts::kIgnored the next one; false at the end. Throws Error "<file>:<line>: record <id>: ..." (of an array:
  /// "<file>: record <id>: ...", the number in the array where it has no id).
  /// Bad are: missing keys, an empty prompt, an empty response, responses that are equal although one is said to be better, a merit that is NaN or infinite, a list of
  /// one, labels outside the set, scores that contradict what was chosen.
  bool next(Comparison& comparison);
  const ComparisonCounts& counts() const;
  /// True when `next` would have to wait for more input.
  bool would_block() const;
  /// Waits for more input, for so many milliseconds at most.
  void wait(int milliseconds) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// All of several files. Throws Error when none is left. Logs counts at level info, what was left out as a warning.
std::vector<Comparison> read_comparisons(const std::vector<std::string>& paths, const ComparisonOptions& options);

/// The comparison that a record holds, in any of the shapes. Throws Error "<place>: ...". `is_tie`: the record says that no response is better than another.
Comparison read_comparison(Record record, const ComparisonOptions& options, bool& is_tie);

/// One answer with scores of its own.
struct Graded {
  std::string id, place;
  std::vector<Message> messages;
  std::string response;
  std::map<std::string, double> scores;  ///< by aspect; a missing or null one is absent; finite; at least one
  io::Json json;
};

/// A translation, or whatever was made of a source, with scores of its own.
struct Rated {
  std::string id, place;
  std::string source, hypothesis;
  std::optional<std::string> reference;
  std::map<std::string, double> scores;  ///< as of Graded
  io::Json json;
};

/// {source, hypothesis, reference?, scores or score}; null is no reference. Throws Error "<place>: ...".
Rated read_rated(Record record);

/// Of such records "scores: {aspect: number or null}" or "score: number" (aspect "score"). Throws Error.
std::map<std::string, double> scores_of(const io::Json& record);

/// {prompt, response, scores: {aspect: number or null}} or {prompt, response, score: number} (aspect "score"). Throws Error "<place>: ...".
Graded read_graded(Record record);

}  // namespace seqmill::text
