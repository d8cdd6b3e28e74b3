#include "data/lm_batches.h"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace seqmill;
using namespace seqmill::data;

namespace {

std::vector<int64_t> numbers(const at::Tensor& tensor) {
  return std::vector<int64_t>(tensor.data_ptr<int64_t>(), tensor.data_ptr<int64_t>() + tensor.numel());
}

std::vector<int64_t> flat(const BatchPlan& plan) {
  std::vector<int64_t> all;
  for (const auto& batch : plan) all.insert(all.end(), batch.begin(), batch.end());
  return all;
}

BatchOrder order_of(int64_t batch_tokens, uint64_t seed = 1, bool shuffle = true) { return {batch_tokens, 64, shuffle, seed}; }

}  // namespace

TEST_CASE("a batch of sequences predicts all but their first tokens", "[lm-batches]") {
  const LmBatch batch = make_lm_batch(std::vector<Tokens>{{5, 6, 7}, {8, 9}});
  CHECK(numbers(batch.input.tokens) == std::vector<int64_t>{5, 6, 8});
  CHECK(numbers(batch.input.positions) == std::vector<int64_t>{0, 1, 0});
  CHECK(batch.input.spans.length == std::vector<int64_t>{2, 1});
  CHECK_FALSE(batch.rows.defined());
  CHECK(numbers(batch.targets) == std::vector<int64_t>{6, 7, 9});
  CHECK((batch.target_tokens() == 3 && batch.input_tokens() == 3));
}

TEST_CASE("a batch of conversations predicts what is learned", "[lm-batches]") {
  const LmBatch batch = make_lm_batch({text::ChatTokens{{5, 6, 7, 8}, {true, false, true, true}}, text::ChatTokens{{3, 4}, {false, true}}});
  CHECK(numbers(batch.input.tokens) == std::vector<int64_t>{5, 6, 7, 3});
  CHECK(numbers(batch.rows) == std::vector<int64_t>{1, 2, 3});
  CHECK(numbers(batch.targets) == std::vector<int64_t>{7, 8, 4});
  CHECK((batch.target_tokens() == 3 && batch.input_tokens() == 4));
}

TEST_CASE("an epoch predicts every token behind its offset once", "[lm-batches]") {
  for (const int64_t tokens : {2, 3, 10, 101, 1000}) {
    for (const int64_t window : {1, 7, 10, 2000}) {
      for (const int64_t batch_tokens : {1, 20, 100}) {
        CAPTURE(tokens, window, batch_tokens);
        const BatchPlan plan = plan_stream(tokens, window, order_of(batch_tokens), 3);
        REQUIRE(!plan.empty());
        std::vector<int> predicted(static_cast<size_t>(tokens));
        int64_t offset = tokens;
        for (const std::vector<int64_t>& batch : plan) {
          CHECK(!batch.empty());
          int64_t size = 0;
          for (const int64_t begin : batch) {
            const int64_t end = window_end(begin, window, tokens);
            REQUIRE((begin >= 0 && end <= tokens && end - begin >= 2 && end - begin <= window + 1));
            for (int64_t i = begin + 1; i < end; ++i) ++predicted[static_cast<size_t>(i)];
            size += end - begin - 1;
            offset = std::min(offset, begin);
          }
          CHECK((size <= batch_tokens || batch.size() == 1));
        }
        CHECK(offset < window);
        for (int64_t i = 0; i < tokens; ++i) REQUIRE(predicted[static_cast<size_t>(i)] == (i > offset ? 1 : 0));
      }
    }
  }
}

TEST_CASE("offset and order of windows follow from seed and epoch", "[lm-batches]") {
  const auto plan = [](uint64_t seed, int64_t epoch) { return plan_stream(5000, 10, order_of(40, seed), epoch); };
  CHECK(plan(1, 0) == plan(1, 0));
  CHECK(plan(1, 0) != plan(1, 1));
  CHECK(plan(1, 0) != plan(2, 0));
  std::vector<int64_t> offsets;
  for (int64_t epoch = 0; epoch < 40; ++epoch) {
    std::vector<int64_t> windows = flat(plan(1, epoch));
    CHECK_FALSE(std::is_sorted(windows.begin(), windows.end()));
    offsets.push_back(*std::min_element(windows.begin(), windows.end()));
  }
  std::sort(offsets.begin(), offsets.end());
  offsets.erase(std::unique(offsets.begin(), offsets.end()), offsets.end());
  CHECK(offsets.size() > 5);  // of ten places
  CHECK(flat(plan_stream(35, 10, order_of(20, 1, false), 7)) == std::vector<int64_t>{0, 10, 20, 30});
}
