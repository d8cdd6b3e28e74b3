#include "align/comparison_data.h"

#include <algorithm>

#include "support/byte_tokenizer.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;

namespace {

/// "good<i>" is better than "bad<i>"; which stands first alternates.
std::vector<text::Comparison> comparisons(int count) {
  std::vector<text::Comparison> all;
  for (int i = 0; i < count; ++i) {
    text::Comparison comparison;
    comparison.id = std::to_string(i);
    comparison.place = "test:" + comparison.id;
    comparison.messages = {{"user", "question " + comparison.id}};
    const bool first = i % 2 == 0;
    comparison.responses = {(first ? "good" : "bad") + comparison.id, (first ? "bad" : "good") + comparison.id};
    comparison.merits = {first ? 1.0 : 0.0, first ? 0.0 : 1.0};
    all.push_back(comparison);
  }
  return all;
}

struct Place {
  ByteTokenizer tokenizer;
  std::unique_ptr<text::ChatTemplate> chat = text::make_chat_template("plain", tokenizer);

  text::Judge judge(int64_t window = 4096) const {
    text::JudgeOptions options;
    options.preamble = "none";
    return text::Judge(options, *chat, tokenizer, window);
  }
  std::string text(const std::vector<int32_t>& tokens) const { return tokenizer.decode(tokens); }
};

}  // namespace

TEST_CASE("verdicts are turned over by a draw of their own each", "[align][data]") {
  std::vector<text::Comparison> all = comparisons(1000);
  all[0].merits = {5, 1};
  CHECK(turn_over(all, 1, 1) == 1000);
  CHECK(all[0].merits == std::vector<double>{1, 5});
  all = comparisons(1000);
  const int64_t turned = turn_over(all, 0.3, 1);
  CHECK((turned > 250 && turned < 350));
  std::vector<text::Comparison> fewer = comparisons(500);
  turn_over(fewer, 0.3, 1);
  for (size_t i = 0; i < fewer.size(); ++i) CHECK(fewer[i].merits == all[i].merits);
  all = comparisons(10);
  CHECK(turn_over(all, 0, 1) == 0);
}

TEST_CASE("a subset is drawn without repeats and keeps its order", "[align][data]") {
  const std::vector<size_t> some = draw_subset(100, 10, 1);
  CHECK(some.size() == 10);
  CHECK(std::is_sorted(some.begin(), some.end()));
  CHECK(std::adjacent_find(some.begin(), some.end()) == some.end());
  CHECK(some == draw_subset(100, 10, 1));
  CHECK(some != draw_subset(100, 10, 2));
  CHECK(draw_subset(3, 10, 1) == std::vector<size_t>{0, 1, 2});
}

TEST_CASE("questions name the better answer by where it stands, half of the time the first", "[align][data][gram]") {
  const Place place;
  const text::Judge judge = place.judge();
  const auto check = [&](const ComparisonData& data, size_t i) {
    const std::string question = place.text(data.trees[i].prompt);
    const bool first = question.find("good") < question.find("bad");
    CHECK(data.trees[i].endings == std::vector<data::Tokens>{{judge.labels()[first ? 0 : 1]}});
    CHECK(data.judged[i].merits == (first ? std::vector<double>{1, 0} : std::vector<double>{0, 1}));
    return first;
  };
  const ComparisonData random = frame_questions(comparisons(50), judge, Sides::kRandom, 1, "test");
  REQUIRE(random.trees.size() == 50);
  int first = 0;
  for (size_t i = 0; i < 50; ++i) first += check(random, i);
  CHECK(first == 25);
  const ComparisonData both = frame_questions(comparisons(5), judge, Sides::kBoth, 1, "test");
  REQUIRE(both.trees.size() == 10);
  for (size_t i = 0; i < 10; i += 2) {
    CHECK((check(both, i) && !check(both, i + 1)));
    const std::string number = std::to_string(i / 2);
    CHECK(place.text(both.trees[i].prompt).find("good" + number) != std::string::npos);
    CHECK(place.text(both.trees[i + 1].prompt).find("good" + number) != std::string::npos);
  }
  const ComparisonData given = frame_questions(comparisons(4), judge, Sides::kGiven, 1, "test");
  for (size_t i = 0; i < 4; ++i) CHECK(check(given, i) == (i % 2 == 0));
}

TEST_CASE("the order of answers in stage 1 says nothing of the verdict", "[align][data][gram]") {
  const Place place;
  std::vector<text::Comparison> all = comparisons(60);
  for (text::Comparison& comparison : all) {  // the better one always first
    if (comparison.merits[0] == 0) {
      std::swap(comparison.merits[0], comparison.merits[1]);
      std::swap(comparison.responses[0], comparison.responses[1]);
    }
  }
  const ComparisonData data = frame_pair_texts(all, place.judge(), false, 1, "test");
  REQUIRE(data.trees.size() == 60);
  int first = 0;
  for (const data::PromptTree& tree : data.trees) {
    const std::string answers = place.text(tree.endings.at(0));
    REQUIRE((answers.find("good") != std::string::npos && answers.find("bad") != std::string::npos));
    CHECK(place.text(tree.prompt).find("good") == std::string::npos);
    first += answers.find("good") < answers.find("bad");
  }
  CHECK(first == 30);
}

TEST_CASE("of stage 1 the second answer may be learned alone, and both losses add up to that of the pair", "[align][data][gram]") {
  const Place place;
  const ComparisonData both = frame_pair_texts(comparisons(20), place.judge(), false, 1, "test"), second = frame_pair_texts(comparisons(20), place.judge(), true, 1, "test");
  REQUIRE(second.trees.size() == 20);
  for (size_t i = 0; i < 20; ++i) {
    const data::PromptTree &whole = both.trees[i], &tree = second.trees[i];
    const auto joined = [](const data::PromptTree& of) {
      data::Tokens all = of.prompt;
      all.insert(all.end(), of.endings.at(0).begin(), of.endings.at(0).end());
      return all;
    };
    // The same text, in which a later token begins what is learned: -log p(a, b | x) = -log p(a | x) - log p(b | x, a).
    CHECK(joined(whole) == joined(tree));
    CHECK(place.text(tree.endings.at(0)).find("[The Start of Assistant B's Answer]\n") == 0);
    const std::string before = place.text(tree.prompt);
    CHECK(before.substr(before.size() - 2) == "\n\n");
    CHECK(before.find("Assistant A's") != std::string::npos);
  }
}

TEST_CASE("comparisons whose answers differ in length are left out, the longer one being the measure", "[align][data]") {
  std::vector<text::Comparison> all = comparisons(4);
  all[0].responses = {"0123456789", "012345678"};
  all[1].responses = {"0123456789", "01234567"};
  all[2].responses = {"\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4", "0123456789"};  // characters, not bytes
  all[3].responses = {"0123456789", "0123456789", "0"};
  all[3].merits = {1, 0, 0};  // one of its pairs differs
  CHECK(match_lengths(all, 0.1) == 2);
  REQUIRE(all.size() == 2);
  CHECK((all[0].id == "0" && all[1].id == "2"));
  CHECK(match_lengths(all, 0) == 1);
  CHECK(all[0].id == "2");
  all[0].responses[0] = "x";
  CHECK_THROWS(match_lengths(all, 0.5));
}

TEST_CASE("pairs of which the window leaves the same are left out", "[align][data]") {
  const Place place;
  std::vector<text::Comparison> all = comparisons(2);
  all[1].responses = {std::string(200, 'a') + "x", std::string(200, 'a') + "y"};
  const text::AnswerFraming framing(*place.chat, place.tokenizer, 64, true);
  const ComparisonData data = frame_comparisons(all, framing, "test");
  REQUIRE(data.trees.size() == 1);
  CHECK(place.text(data.trees[0].endings.at(0)).find("good0") == 0);
  all.erase(all.begin());
  CHECK_THROWS_WITH(frame_comparisons(all, framing, "test"), Catch::Contains("no pair of 1 comparisons is left"));
}
