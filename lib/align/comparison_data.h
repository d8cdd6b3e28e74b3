#pragma once
// Comparisons as reward models learn from them: read, spoilt on purpose if asked for, framed, cut to the window.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "align/comparison_files.h"
#include "align/objective.h"
#include "base/log.h"
#include "base/options.h"
#include "data/prompt_trees.h"
#include "text/comparisons.h"
#include "text/fitting.h"
#include "text/judge.h"

namespace seqmill::align {

struct ComparisonDataOptions : ComparisonFiles {
  int64_t train_limit = 0;  ///< of comparisons drawn from the training data; 0: all
  double length_match = 1;  ///< train on comparisons whose answers differ by at most this share of the longer one's characters
  double label_noise = 0;   ///< share of training comparisons whose merits are turned over

  void declare(Options& options);
};

/// Trees, and what is known of their answers.
struct ComparisonData {
  std::vector<data::PromptTree> trees;
  std::vector<Judged> judged;
};

/// So many of `count` items, drawn with the seed, in their order.
std::vector<size_t> draw_subset(size_t count, size_t wanted, uint64_t seed);
/// These of the training data, or with `wanted` 0 all; says how many.
template <typename Item>
std::vector<Item> limited(std::vector<Item> all, int64_t wanted, uint64_t seed, const char* noun) {
  if (wanted == 0) return all;
  log::info("training data: {} of {} {} (--train-limit)", std::min<size_t>(all.size(), static_cast<size_t>(wanted)), all.size(), noun);
  std::vector<Item> kept;
  for (const size_t i : draw_subset(all.size(), static_cast<size_t>(wanted), seed)) kept.push_back(std::move(all[i]));
  return kept;
}
/// Leaves out comparisons with a better and a worse answer that are not similar in length (text::similar_lengths). Returns how many. Throws Error when none is left.
size_t match_lengths(std::vector<text::Comparison>& comparisons, double share);
/// Turns the merits of this share of comparisons over, each by a draw of its own (stream "label-noise"). Returns how many.
int64_t turn_over(std::vector<text::Comparison>& comparisons, double share, uint64_t seed);

/// The training comparisons, matched, limited and spoilt as the options say.
std::vector<text::Comparison> read_training(const ComparisonDataOptions& options, uint64_t seed);

/// A tree a comparison. Logs what was cut as that of `what`. Pairs of which the window leaves the same are no pairs, and a comparison without any is left out; both are counted.
ComparisonData frame_comparisons(const std::vector<text::Comparison>& comparisons, const text::AnswerFraming& framing, const std::string& what);
/// A tree a graded answer, with a label for each of the aspects.
ComparisonData frame_graded(const std::vector<text::Graded>& answers, const std::vector<std::string>& aspects, const text::AnswerFraming& framing, const std::string& what);
/// All of several files that have one of the aspects; one that has none is a bad record.
std::vector<text::Graded> read_graded(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects);

/// A tree a rated translation, whose endings are its source, its hypothesis and, with_reference, its reference, each to be read by itself. Labels as of frame_graded().
ComparisonData frame_rated(const std::vector<text::Rated>& translations, const std::vector<std::string>& aspects, bool with_reference, const text::Tokenizer& tokenizer, int64_t window,
                           const std::string& what);
/// As read_graded(); with_reference, one without a reference is bad, too.
std::vector<text::Rated> read_rated(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects, bool with_reference);

/// Who is shown first to a judge.
enum class Sides {
  kRandom,  ///< a seeded coin for each pair, such that half of all labels, to within one, are the first
  kBoth,    ///< each pair in both orders, one behind the other
  kGiven    ///< as they stand in the record
};
/// Questions of all pairs of the comparisons: the prompt of a tree is a question, its one ending the right label. `judged[i].merits` is {1, 0} where the first is better.
ComparisonData frame_questions(const std::vector<text::Comparison>& comparisons, const text::Judge& judge, Sides sides, uint64_t seed, const std::string& what);
/// Both answers of every pair behind their prompt (GRAM, stage 1); of a longer list, neighbours. Which one comes first is a coin's, so that the order says nothing of the verdict.
/// `second_alone`: the first answer belongs to the prompt, and only the second one is learned.
ComparisonData frame_pair_texts(const std::vector<text::Comparison>& comparisons, const text::Judge& judge, bool second_alone, uint64_t seed, const std::string& what);

}  // namespace seqmill::align
