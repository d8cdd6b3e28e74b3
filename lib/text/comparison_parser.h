#pragma once
// Comparisons out of the shapes in which preference data is published.

#include <string>
#include <vector>

#include "text/comparison_fields.h"
#include "text/comparisons.h"

namespace seqmill::text {

class ComparisonParser {
 public:
  /// Throws a usage error for options that say nothing.
  explicit ComparisonParser(const ComparisonOptions& options);

  /// As read_comparison().
  Comparison parse(Record record, bool& is_tie) const;
  Graded parse_graded(Record record) const;

 private:
  struct Draft;

  void read_shape(Draft& draft) const;
  void read_chosen(Draft& draft) const;
  void read_styles(Draft& draft, const FoundField& chosen, const FoundField& rejected) const;
  void read_list(Draft& draft) const;
  void read_list_merits(Draft& draft, const FoundField& list) const;
  void read_pair(Draft& draft, const FieldPair& pair) const;
  std::optional<FieldPair> find_pair(const io::Json& record) const;
  void read_chosen_merits(Draft& draft) const;
  void read_pair_merits(Draft& draft, const FieldPair& pair) const;
  void read_texts(Draft& draft, const std::vector<FoundField>& answers) const;
  void read_conversations(Draft& draft, const std::vector<FoundField>& answers) const;
  std::vector<Message> system_of(const io::Json& record) const;
  std::vector<Message> prompt_of(const io::Json& record) const;
  std::string subset_of(const io::Json& record) const;

  ComparisonFields fields_;
  ComparisonLabels labels_;
  Verdicts verdicts_;
};

}  // namespace seqmill::text
