#include "align/preference_data.h"

#include <algorithm>

#include "align/make_all.h"
#include "base/error.h"
#include "text/fitting.h"

namespace seqmill::align {
namespace {

/// For each comparison the next one with another prompt, round the end.
std::vector<size_t> next_others(const std::vector<text::Comparison>& comparisons) {
  const size_t count = comparisons.size();
  std::vector<size_t> others(count, count);
  // Twice backwards: the first time the last ones do not know yet what comes after them.
  for (size_t step = 2 * count; step-- > 0;) {
    const size_t i = step % count, next = (i + 1) % count;
    others[i] = comparisons[i].messages == comparisons[next].messages ? others[next] : next;
  }
  if (others[0] == count) fail("this loss needs answers to other prompts, and all {} comparisons have the same prompt, that of {}", count, comparisons[0].place);
  return others;
}

const std::string& best_response(const text::Comparison& comparison) {
  const auto best = std::max_element(comparison.merits.begin(), comparison.merits.end());
  return comparison.responses[static_cast<size_t>(best - comparison.merits.begin())];
}

/// The pairs of one comparison.
class PairMaker {
 public:
  PairMaker(const text::AnswerFraming& framing, int64_t window) : framing_(framing), window_(window) {}

  /// `other`: whose best answer is the mismatched one; null: none.
  PreferencePairs make(const text::Comparison& comparison, const text::Comparison* other) const {
    const text::FramedAnswers framed = framing_.frame(comparison.messages, comparison.responses);
    PreferencePairs pairs;
    pairs.cut_prompts = framed.cut_prompt;
    pairs.cut_answers = std::count(framed.cut_answers.begin(), framed.cut_answers.end(), true);
    const data::Tokens mismatched = other ? answer_of(*other, static_cast<int64_t>(framed.prompt.size())) : data::Tokens();
    for (const text::Preference& preference : text::preferences_of(comparison)) {
      data::PromptTree tree{framed.prompt, {framed.answers[preference.better], framed.answers[preference.worse]}};
      if (tree.endings[0] == tree.endings[1]) {
        ++pairs.alike;
        continue;
      }
      if (other) pairs.mismatched.push_back({framed.prompt, {mismatched}});
      pairs.tokens += tree.tokens();
      pairs.trees.push_back(std::move(tree));
    }
    return pairs;
  }

 private:
  /// As much of it as fits behind a prompt of so many tokens. It is framed with its own prompt, so that it cuts nothing of the one it does not belong to.
  data::Tokens answer_of(const text::Comparison& other, int64_t prompt) const {
    data::Tokens answer = framing_.frame(other.messages, {best_response(other)}).answers[0];
    answer.resize(std::min(answer.size(), static_cast<size_t>(std::max<int64_t>(1, window_ - prompt))));
    return answer;
  }

  const text::AnswerFraming& framing_;
  int64_t window_;
};

}  // namespace

PreferencePairs make_pairs(const std::vector<text::Comparison>& comparisons, const text::ChatTemplate& chat, const text::Tokenizer& tokenizer, int64_t window, bool mismatched) {
  const text::AnswerFraming framing(chat, tokenizer, window, true);
  const PairMaker maker(framing, window);
  const std::vector<size_t> others = mismatched ? next_others(comparisons) : std::vector<size_t>();
  std::vector<PreferencePairs> parts =
      make_all<PreferencePairs>(comparisons, [&](size_t i) { return maker.make(comparisons[i], mismatched ? &comparisons[others[i]] : nullptr); });
  PreferencePairs all;
  for (PreferencePairs& part : parts) {
    std::move(part.trees.begin(), part.trees.end(), std::back_inserter(all.trees));
    std::move(part.mismatched.begin(), part.mismatched.end(), std::back_inserter(all.mismatched));
    all.tokens += part.tokens;
    all.cut_prompts += part.cut_prompts;
    all.cut_answers += part.cut_answers;
    all.alike += part.alike;
  }
  if (all.trees.empty()) fail("no pair of {} comparisons is left: within {} tokens their answers are the same", comparisons.size(), window);
  return all;
}

}  // namespace seqmill::align
