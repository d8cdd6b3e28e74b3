#include "align/preference_data.h"

#include <catch2/catch.hpp>

#include "support/files.h"
#include "support/letter_template.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;

namespace {

text::Comparison comparison(const std::string& prompt, const std::vector<std::string>& responses, const std::vector<double>& merits) {
  text::Comparison one;
  one.id = one.place = prompt;
  one.messages = {{"user", prompt}};
  one.responses = responses;
  one.merits = merits;
  return one;
}

/// "prompt chosen rejected" of each tree, and what is mismatched.
std::vector<std::string> shown(const PreferencePairs& pairs) {
  std::vector<std::string> all;
  for (size_t i = 0; i < pairs.trees.size(); ++i) {
    const data::PromptTree& tree = pairs.trees[i];
    std::string& text = all.emplace_back(ByteTokenizer().decode(tree.prompt));
    for (const data::Tokens& ending : tree.endings) text += " " + ByteTokenizer().decode(ending);
    if (pairs.mismatched.empty()) continue;
    REQUIRE(pairs.mismatched.size() == pairs.trees.size());
    CHECK(pairs.mismatched[i].prompt == tree.prompt);
    REQUIRE(pairs.mismatched[i].endings.size() == 1);
    text += " " + ByteTokenizer().decode(pairs.mismatched[i].endings[0]);
  }
  return all;
}

PreferencePairs pairs_of(const std::vector<text::Comparison>& comparisons, int64_t window = 100, bool mismatched = false) {
  return make_pairs(comparisons, LetterTemplate(), ByteTokenizer(), window, mismatched);
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("every pair of different merits is a tree", "[preference-data]") {
  const PreferencePairs pairs = pairs_of({comparison("q", {"aa", "b", "c"}, {2, 0, 1}), comparison("r", {"d", "e", "f"}, {0, 1, 0})});
  CHECK(shown(pairs) == Texts{"[q]< aa> b>", "[q]< aa> c>", "[q]< c> b>", "[r]< e> d>", "[r]< e> f>"});
  CHECK((pairs.cut_prompts == 0 && pairs.cut_answers == 0 && pairs.alike == 0));
  CHECK(pairs.tokens == (5 + 3 + 2) + (5 + 3 + 2) + 3 * (5 + 2 + 2));
}

TEST_CASE("a mismatched answer is the best one to the next other prompt, round the end", "[preference-data]") {
  const PreferencePairs pairs = pairs_of({comparison("q", {"a", "b"}, {1, 0}), comparison("q", {"c", "d"}, {0, 1}), comparison("r", {"e", "f", "g"}, {0, 1, 2})}, 100, true);
  CHECK(shown(pairs) == Texts{"[q]< a> b> g>", "[q]< d> c> g>", "[r]< f> e> a>", "[r]< g> e> a>", "[r]< g> f> a>"});
  const PreferencePairs same_end = pairs_of({comparison("q", {"a", "b"}, {1, 0}), comparison("r", {"e", "f"}, {0, 1}), comparison("q", {"c", "d"}, {0, 1})}, 100, true);
  CHECK(shown(same_end) == Texts{"[q]< a> b> f>", "[r]< f> e> d>", "[q]< d> c> f>"});
  const Failure alone = failure_of([] { pairs_of({comparison("q", {"a", "b"}, {1, 0}), comparison("q", {"c", "d"}, {1, 0})}, 100, true); });
  CHECK((alone.exit_code == kExitFailure && alone.says("all 2 comparisons have the same prompt")));
}

TEST_CASE("a mismatched answer fits the window with the prompt, and cuts nothing of that", "[preference-data]") {
  const PreferencePairs pairs = pairs_of({comparison("qqqqqqqqqq", {"a", "b"}, {1, 0}), comparison("r", {"eeeeeeeeeeee", "f"}, {1, 0})}, 20, true);
  REQUIRE(pairs.trees.size() == 2);
  CHECK(ByteTokenizer().decode(pairs.trees[0].prompt) == "[qqqqqqqqqq]<");
  CHECK(pairs.mismatched[0].endings[0] == byte_ids("eeeeee"));
  CHECK(pairs.cut_prompts == 0);
}

TEST_CASE("what the window cuts is counted, and answers that it makes the same are left out", "[preference-data]") {
  const text::Comparison alike = comparison("q", {"abcdefghijx", "abcdefghijy"}, {1, 0}), other = comparison("r", {"a", "b"}, {1, 0});
  const PreferencePairs pairs = pairs_of({alike, other}, 12);
  CHECK(shown(pairs) == Texts{"[r]< a> b>"});
  CHECK((pairs.alike == 1 && pairs.cut_answers == 2));
  const Failure none = failure_of([&] { pairs_of({alike}, 12); });
  CHECK((none.exit_code == kExitFailure && none.says("no pair of 1 comparisons is left: within 12 tokens")));
}

TEST_CASE("an error names the record", "[preference-data]") {
  CHECK(failure_of([] { pairs_of({comparison("some place", {"a", "b"}, {1, 0})}, 4); }).says("some place: "));
}
