#include "align/tree_task.h"

#include "model/lm.h"
#include "support/files.h"
#include "unit/model/models.h"

using namespace seqmill;
using namespace seqmill::align;
using namespace seqmill::test;

namespace {

std::unique_ptr<model::Lm> tiny_lm() {
  Options options;
  std::string type = "llama";
  const auto config = model::declare_lm(options, type);
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"model.dim", "16"}, {"model.ffn", "24"}, {"model.layers", "1"}, {"model.heads", "2"}}) {
    REQUIRE(options.find(key)->set({value}).empty());
  }
  return config->build(50, 1);
}

/// Learns nothing.
class IdleTask final : public TreeTask<model::Lm> {
 public:
  IdleTask(model::Lm& model, const Trees& train, train::Ranks& ranks) : TreeTask(model, nullptr, train, train, small_batches(), data::LastTokens::kPredicted, 1, ranks) {}

 private:
  static TreeTaskOptions small_batches() {
    TreeTaskOptions options;
    options.batch_tokens = 12;
    return options;
  }

  train::StepLoss loss_of(const model::Lm&, const TreePart& part, bool, tensor::DropoutStream*) const override { return {at::zeros({}), 0, part.target_tokens()}; }
};

std::vector<data::PromptTree> toy_trees() {
  std::vector<data::PromptTree> trees;
  for (int32_t i = 0; i < 8; ++i) trees.push_back({{3, 4 + i}, {{20 + i, 5}, {7}}});
  return trees;
}

Trees kept(std::vector<data::PromptTree> trees) { return std::make_shared<const std::vector<data::PromptTree>>(std::move(trees)); }

}  // namespace

TEST_CASE("a fingerprint tells texts and their borders apart", "[tree-task]") {
  const uint64_t whole = fingerprint_of(toy_trees());
  CHECK(fingerprint_of(toy_trees()) == whole);
  std::vector<data::PromptTree> other = toy_trees();
  other[5].prompt[1] = 40;
  CHECK(fingerprint_of(other) != whole);
  other = toy_trees();
  std::swap(other[2].endings[0], other[2].endings[1]);
  CHECK(fingerprint_of(other) != whole);
  other = toy_trees();
  std::swap(other[2], other[3]);
  CHECK(fingerprint_of(other) != whole);
  other = toy_trees();
  other[0] = {{3}, {{4, 20, 5}, {7}}};
  CHECK(fingerprint_of(other) != whole);
  other = toy_trees();
  other[0] = {{3, 4}, {{20, 5, 7}}};
  CHECK(fingerprint_of(other) != whole);
}

TEST_CASE("a cursor knows its data by the tokens, not by their number", "[tree-task]") {
  const auto model = tiny_lm();
  train::Ranks alone;
  IdleTask first(*model, kept(toy_trees()), alone);
  REQUIRE(first.epoch_batches() > 2);
  first.skip(1);
  const io::Json cursor = first.cursor();
  IdleTask same(*model, kept(toy_trees()), alone);
  same.set_cursor(cursor);
  CHECK(same.cursor().at("batch").as_int() == 1);
  // As of another seed that turns verdicts over, or of other texts that happen to be as long.
  std::vector<data::PromptTree> turned = toy_trees();
  std::swap(turned[6].endings[0][0], turned[6].endings[0][1]);
  IdleTask other(*model, kept(turned), alone);
  other.set_cursor(cursor);
  CHECK(other.cursor().at("batch").as_int() == 0);
}

TEST_CASE("trees in order are each there once", "[tree-task]") {
  const Trees trees = kept(toy_trees());
  std::vector<int64_t> seen;
  for (const std::vector<int64_t>& items : plan_in_order(trees, 12)) {
    CHECK(items.size() <= 2);
    seen.insert(seen.end(), items.begin(), items.end());
  }
  std::sort(seen.begin(), seen.end());
  CHECK(seen == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
}
