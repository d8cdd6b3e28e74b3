#pragma once
// Where published preference data keeps what comparisons are made of, and what its labels say.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"

namespace seqmill::text {

/// A field that a record has, and its name there.
struct FoundField {
  const io::Json* value = nullptr;
  std::string name;
};

/// Finds fields by our names. An absent field and null are none.
class ComparisonFields {
 public:
  /// `given`: "ours=theirs", theirs perhaps "metadata.score", a path into objects; "ours=" says that records have no such field. Throws a usage error for what is neither.
  explicit ComparisonFields(const std::vector<std::string>& given);

  /// The field that the user named, else the first that the record has of the usual names.
  std::optional<FoundField> find(const io::Json& record, const std::string& ours) const;
  /// Likewise; throws Error that names what was looked for.
  FoundField at(const io::Json& record, const std::string& ours) const;
  /// Whether the user named the field in which to look for it.
  bool is_given(const std::string& ours) const { return given_.count(ours) > 0 && !given_.at(ours).empty(); }
  /// `"prompt", "messages" or "question"`, for messages.
  std::string looked_for(const std::string& ours) const;

 private:
  const std::vector<std::string>& names_of(const std::string& ours) const;

  std::map<std::string, std::vector<std::string>> given_;
};

/// Two fields of names such as response_a and response_b.
struct FieldPair {
  FoundField first, second;
  bool counts_from_zero = false;  ///< their names do
};

enum class PairKind { kResponses, kScores };

/// The first pair of usual names of which the record has both; none when it has not. Throws Error when it has a third of them.
std::optional<FieldPair> find_usual_pair(const io::Json& record, PairKind kind);

enum class Verdict { kFirst, kSecond, kNeither };

/// What labels mean.
class ComparisonLabels {
 public:
  /// As ComparisonOptions::labels. Throws a usage error unless they are none, two or three different ones.
  explicit ComparisonLabels(const std::vector<std::string>& given);

  /// Throws Error for a value outside the set, and a usage error for 0 when no set was given: it stands for the first answer in some data and for a tie in others, and the 1s
  /// mean another answer accordingly. `pair`: the fields that are compared, whose names are labels too.
  Verdict read(const FoundField& label, const FieldPair& pair) const;
  /// The same of one vote of several, of which 0 is that for neither.
  Verdict read_vote(const FoundField& vote, const FieldPair& pair) const;

 private:
  Verdict read_usual(const std::string& label, const std::string& name, const FieldPair& pair) const;

  std::vector<std::string> given_;
};

}  // namespace seqmill::text
