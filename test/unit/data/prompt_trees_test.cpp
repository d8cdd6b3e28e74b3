#include "data/prompt_trees.h"

#include <catch2/catch.hpp>

#include "unit/tensor/tensors.h"

using namespace seqmill;
using data::LastTokens;
using data::Prompts;
using data::PromptTree;

namespace {

std::vector<int64_t> numbers(const at::Tensor& tensor) { return {tensor.data_ptr<int64_t>(), tensor.data_ptr<int64_t>() + tensor.numel()}; }

using Numbers = std::vector<int64_t>;

const PromptTree kFirst{{1, 2}, {{3, 4}, {5}, {6, 7, 8}}}, kSecond{{9}, {{10, 11}}};

}  // namespace

TEST_CASE("a prompt is there once for all of its endings", "[trees]") {
  const data::TreeBatch batch = data::make_tree_batch({&kFirst, &kSecond}, LastTokens::kRead);
  CHECK(numbers(batch.input.tokens) == Numbers{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(numbers(batch.input.positions) == Numbers{0, 1, 2, 3, 2, 2, 3, 4, 0, 1, 2});
  CHECK(batch.input.spans.begin == Numbers{0, 4, 5, 8});
  CHECK(batch.input.spans.length == Numbers{4, 1, 3, 3});
  CHECK(numbers(batch.input.key_rows) == Numbers{0, 1, 2, 3, 0, 1, 4, 0, 1, 5, 6, 7, 8, 9, 10});
  CHECK(batch.input.key_spans.length == Numbers{4, 3, 5, 3});
  CHECK(batch.counts == Numbers{3, 1});
  CHECK(batch.lengths == Numbers{2, 1, 3, 2});
  CHECK(numbers(batch.last) == Numbers{3, 4, 7, 10});
  CHECK(numbers(batch.read) == Numbers{2, 3, 4, 5, 6, 7, 9, 10});
  CHECK(numbers(batch.targets) == Numbers{3, 4, 5, 6, 7, 8, 10, 11});
  CHECK(numbers(batch.rows) == Numbers{1, 2, 1, 1, 5, 6, 8, 9});
  CHECK(kFirst.tokens() == 8);
}

TEST_CASE("tokens that are only predicted are not read", "[trees]") {
  const data::TreeBatch batch = data::make_tree_batch({&kFirst, &kSecond}, LastTokens::kPredicted);
  CHECK(numbers(batch.input.tokens) == Numbers{1, 2, 3, 6, 7, 9, 10});
  CHECK(batch.input.spans.begin == Numbers{0, 3, 5});
  CHECK(batch.input.spans.length == Numbers{3, 2, 2});
  CHECK(batch.input.key_spans.length == Numbers{3, 4, 2});
  CHECK(numbers(batch.rows) == Numbers{1, 2, 1, 1, 3, 4, 5, 6});
  CHECK(numbers(batch.targets) == Numbers{3, 4, 5, 6, 7, 8, 10, 11});
  CHECK((!batch.last.defined() && !batch.read.defined()));
}

TEST_CASE("without sharing every ending has its prompt", "[trees]") {
  const data::TreeBatch batch = data::make_tree_batch({&kFirst, &kSecond}, LastTokens::kRead, Prompts::kCopied);
  CHECK(numbers(batch.input.tokens) == Numbers{1, 2, 3, 4, 1, 2, 5, 1, 2, 6, 7, 8, 9, 10, 11});
  CHECK(!batch.input.key_rows.defined());
  CHECK(batch.input.spans.length == Numbers{4, 3, 5, 3});
  CHECK(numbers(batch.last) == Numbers{3, 6, 11, 14});
  CHECK(numbers(batch.read) == Numbers{2, 3, 6, 9, 10, 11, 13, 14});
  CHECK(numbers(batch.rows) == Numbers{1, 2, 5, 8, 9, 10, 12, 13});
  // One ending a prompt has nothing to share.
  CHECK(!data::make_tree_batch({&kSecond}, LastTokens::kRead).input.key_rows.defined());
}

TEST_CASE("where tokens see whole texts, prompts see no endings", "[trees]") {
  const data::TreeBatch batch = data::make_tree_batch({&kFirst, &kSecond}, LastTokens::kRead, Prompts::kApart);
  CHECK(numbers(batch.input.tokens) == Numbers{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(batch.input.spans.begin == Numbers{0, 2, 4, 5, 8, 9});
  CHECK(batch.input.spans.length == Numbers{2, 2, 1, 3, 1, 2});
  CHECK(numbers(batch.input.key_rows) == Numbers{0, 1, 0, 1, 2, 3, 0, 1, 4, 0, 1, 5, 6, 7, 8, 8, 9, 10});
  CHECK(batch.input.key_spans.length == Numbers{2, 4, 3, 5, 1, 3});
  CHECK(numbers(batch.read) == Numbers{2, 3, 4, 5, 6, 7, 9, 10});
  CHECK(numbers(batch.last) == Numbers{3, 4, 7, 10});
}

TEST_CASE("prompts and endings have tokens", "[trees]") {
  const PromptTree no_prompt{{}, {{1}}}, no_endings{{1}, {}}, empty{{1}, {{2}, {}}};
  for (const PromptTree* tree : {&no_prompt, &no_endings, &empty}) CHECK_THROWS(data::make_tree_batch({tree}, LastTokens::kRead));
}
