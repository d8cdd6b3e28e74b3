#include "data/batch.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::data;
using namespace seqmill::test;

namespace {

using Ids = std::vector<int64_t>;

Ids ids(const at::Tensor& tensor) {
  REQUIRE(tensor.scalar_type() == at::kLong);
  REQUIRE(tensor.dim() == 1);
  return Ids(tensor.data_ptr<int64_t>(), tensor.data_ptr<int64_t>() + tensor.numel());
}

}  // namespace

TEST_CASE("sequences are packed one after another", "[batch]") {
  const std::vector<Tokens> sequences{{5, 6}, {}, {7, 8, 9}};
  const PackedTokens bare = pack(sequences, -1, -1);
  CHECK(ids(bare.tokens) == Ids{5, 6, 7, 8, 9});
  CHECK(ids(bare.positions) == Ids{0, 1, 0, 1, 2});
  CHECK(bare.spans.begin == Ids{0, 2, 2});
  CHECK(bare.spans.length == Ids{2, 0, 3});
  CHECK(bare.count() == 3);

  const PackedTokens both = pack(sequences, 0, 2);
  CHECK(ids(both.tokens) == Ids{0, 5, 6, 2, 0, 2, 0, 7, 8, 9, 2});
  CHECK(ids(both.positions) == Ids{0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4});
  CHECK(both.spans.begin == Ids{0, 4, 6});
  CHECK(both.spans.length == Ids{4, 2, 5});
  CHECK(ids(pack({{5}}, 0, 0).tokens) == Ids{0, 5, 0});
  CHECK(pack({}, 1, 2).tokens.numel() == 0);
}

TEST_CASE("a batch shifts its targets by one", "[batch]") {
  const Batch batch = make_batch({{5, 6}, {7}}, {{15}, {16, 17, 18}}, 3, 1, 2);
  CHECK(ids(batch.source.tokens) == Ids{5, 6, 3, 7, 3});
  CHECK(ids(batch.source.positions) == Ids{0, 1, 2, 0, 1});
  CHECK(batch.source.spans.length == Ids{3, 2});
  CHECK(ids(batch.target_input.tokens) == Ids{1, 15, 1, 16, 17, 18});
  CHECK(ids(batch.target_output) == Ids{15, 2, 16, 17, 18, 2});
  CHECK(batch.target_input.spans.begin == Ids{0, 2});
  CHECK(batch.target_tokens() == 6);
  CHECK(batch.source_tokens() == 5);
}

TEST_CASE("both sides of a batch hold as many sequences", "[batch]") {
  const Failure failure = failure_of([] { make_batch({{1}, {2}}, {{1}}, 2, 1, 2); });
  CHECK((failure.says("2 sources") && failure.says("1 targets")));
}
