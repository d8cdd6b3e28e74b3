#pragma once
// Comparisons as reward models learn from them: read, spoilt on purpose if asked for, framed, cut to the window.

#include <cstdint>
#include <string>
#include <vector>

#include "align/objective.h"
#include "base/options.h"
#include "data/prompt_trees.h"
#include "text/comparisons.h"
#include "text/fitting.h"
#include "text/judge.h"

namespace seqmill::align {

struct ComparisonDataOptions {
  std::vector<std::string> train, valid;
  text::ComparisonOptions records;
  int64_t train_limit = 0;   ///< of comparisons drawn from the training data; 0: all
  double label_noise = 0;    ///< share of training comparisons whose merits are turned over
  int64_t window = 0;        ///< tokens that the model sees of a prompt and an answer; 0: what it has positions for, at most 512

  void declare(Options& options);
  /// Throws a usage error for combinations that make no sense; sets the window.
  void resolve(int64_t max_positions);
};

/// Trees, and what is known of their answers.
struct ComparisonData {
  std::vector<data::PromptTree> trees;
  std::vector<Judged> judged;
};

/// So many of `count` items, drawn with the seed, in their order.
std::vector<size_t> draw_subset(size_t count, size_t wanted, uint64_t seed);
/// Turns the merits of this share of comparisons over, each by a draw of its own (stream "label-noise"). Returns how many.
int64_t turn_over(std::vector<text::Comparison>& comparisons, double share, uint64_t seed);

/// The training comparisons, limited and spoilt as the options say.
std::vector<text::Comparison> read_training(const ComparisonDataOptions& options, uint64_t seed);

/// A tree a comparison. Logs what was cut as that of `what`.
ComparisonData frame_comparisons(const std::vector<text::Comparison>& comparisons, const text::AnswerFraming& framing, const std::string& what);
/// A tree a graded answer, with a label for each of the aspects. Throws Error for one that has none of them.
ComparisonData frame_graded(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects, const text::AnswerFraming& framing, const std::string& what);

/// A tree a rated translation, whose endings are its source, its hypothesis and, with_reference, its reference, each to be read by itself. Labels as of frame_graded(). Throws Error also for
/// one without a reference where that is needed.
ComparisonData frame_rated(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects, bool with_reference, const text::Tokenizer& tokenizer,
                           int64_t window, const std::string& what);

/// Who is shown first to a judge.
enum class Sides {
  kRandom,  ///< a seeded coin for each pair, such that half of all labels, to within one, are the first
  kBoth,    ///< each pair in both orders, one behind the other
  kGiven    ///< as they stand in the record
};
/// Questions of all pairs of the comparisons: the prompt of a tree is a question, its one ending the right label. `judged[i].merits` is {1, 0} where the first is better.
ComparisonData frame_questions(const std::vector<text::Comparison>& comparisons, const text::Judge& judge, Sides sides, uint64_t seed, const std::string& what);
/// Both answers of every pair behind their prompt (GRAM, stage 1); of a longer list, neighbours.
ComparisonData frame_pair_texts(const std::vector<text::Comparison>& comparisons, const text::Judge& judge, const std::string& what);

}  // namespace seqmill::align
