#include "data/batches.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "base/rng.h"

using namespace seqmill;
using namespace seqmill::data;

namespace {

struct Corpus {
  explicit Corpus(int64_t pairs, uint64_t longest = 40) {
    Rng rng(1, "test");
    for (int64_t i = 0; i < pairs; ++i) {
      const auto source = static_cast<int64_t>(1 + rng.below(longest));
      lengths.emplace_back(source, std::max<int64_t>(1, source + static_cast<int64_t>(rng.below(9)) - 4));
    }
  }
  BatchPlan plan(const BatchOrder& order, int64_t epoch = 0) const {
    const auto length = [this](int64_t pair) { return lengths.at(static_cast<size_t>(pair)); };
    return plan_batches(static_cast<int64_t>(lengths.size()), length, order, epoch);
  }
  /// Tokens of a batch on its longer side, end symbols included.
  int64_t tokens(const std::vector<int64_t>& batch) const {
    int64_t source = 0, target = 0;
    for (const int64_t pair : batch) {
      source += lengths[static_cast<size_t>(pair)].first + 1;
      target += lengths[static_cast<size_t>(pair)].second + 1;
    }
    return std::max(source, target);
  }
  std::vector<std::pair<int64_t, int64_t>> lengths;
};

BatchOrder order_of(int64_t batch_tokens, int64_t bucket_batches, bool shuffle = true, uint64_t seed = 1) {
  return {batch_tokens, bucket_batches, shuffle, seed};
}

std::vector<int64_t> flat(const BatchPlan& plan) {
  std::vector<int64_t> all;
  for (const auto& batch : plan) all.insert(all.end(), batch.begin(), batch.end());
  return all;
}

bool is_permutation_of_all(std::vector<int64_t> pairs, size_t count) {
  std::sort(pairs.begin(), pairs.end());
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (pairs[i] != static_cast<int64_t>(i)) return false;
  }
  return pairs.size() == count;
}

}  // namespace

TEST_CASE("every pair is in exactly one batch and no batch is too large", "[batches]") {
  const Corpus corpus(3000);
  for (const bool shuffle : {false, true}) {
    for (const int64_t tokens : {50, 200, 1000}) {
      for (const int64_t buckets : {0, 1, 4, 1000}) {
        CAPTURE(shuffle, tokens, buckets);
        const BatchPlan plan = corpus.plan(order_of(tokens, buckets, shuffle));
        CHECK(is_permutation_of_all(flat(plan), 3000));
        for (const auto& batch : plan) {
          REQUIRE_FALSE(batch.empty());
          REQUIRE(corpus.tokens(batch) <= tokens);
        }
      }
    }
  }
  CHECK(Corpus(0).plan(order_of(100, 4)).empty());
}

TEST_CASE("batches are filled", "[batches]") {
  const Corpus corpus(5000);
  const BatchPlan plan = corpus.plan(order_of(1000, 64));
  int64_t tokens = 0;
  for (const auto& batch : plan) tokens += corpus.tokens(batch);
  CHECK(static_cast<double>(tokens) > 0.93 * 1000 * static_cast<double>(plan.size()));
}

TEST_CASE("a plan follows from seed and epoch", "[batches]") {
  const Corpus corpus(500);
  const BatchPlan plan = corpus.plan(order_of(200, 4), 3);
  CHECK(plan == corpus.plan(order_of(200, 4), 3));
  CHECK(plan != corpus.plan(order_of(200, 4), 4));
  CHECK(plan != corpus.plan(order_of(200, 4, true, 2), 3));
  CHECK(corpus.plan(order_of(200, 4, false), 3) == corpus.plan(order_of(200, 4, false, 2), 4));

  // Another epoch makes other batches, not the same ones in another order.
  BatchPlan sorted = plan, other = corpus.plan(order_of(200, 4), 4);
  for (BatchPlan* each : {&sorted, &other}) {
    for (auto& batch : *each) std::sort(batch.begin(), batch.end());
    std::sort(each->begin(), each->end());
  }
  std::vector<std::vector<int64_t>> common;
  std::set_intersection(sorted.begin(), sorted.end(), other.begin(), other.end(), std::back_inserter(common));
  CHECK(common.size() < plan.size() / 4);
}

TEST_CASE("batches come in no order of length", "[batches]") {
  const Corpus corpus(2000);
  const BatchPlan plan = corpus.plan(order_of(300, 1000));
  size_t rising = 0;
  const auto length = [&](size_t batch) { return corpus.lengths[static_cast<size_t>(plan[batch][0])].second; };
  for (size_t i = 1; i < plan.size(); ++i) rising += length(i) > length(i - 1);
  CHECK(rising > plan.size() / 3);
  CHECK(rising < 2 * plan.size() / 3);
}

TEST_CASE("a pair that is too long is a batch by itself", "[batches]") {
  Corpus corpus(100);
  corpus.lengths[17] = {500, 3};
  corpus.lengths[60] = {2, 500};
  corpus.lengths[61] = {99, 99};  // just fits, alone
  for (const bool shuffle : {false, true}) {
    const BatchPlan plan = corpus.plan(order_of(100, 3, shuffle));
    CHECK(is_permutation_of_all(flat(plan), 100));
    for (const int64_t pair : {17, 60, 61}) CHECK(std::count(plan.begin(), plan.end(), std::vector<int64_t>{pair}) == 1);
    for (const auto& batch : plan) {
      if (batch.size() > 1) CHECK(corpus.tokens(batch) <= 100);
    }
  }
}

TEST_CASE("within a batch lengths are alike", "[batches]") {
  const Corpus corpus(5000);
  const auto padding = [&](int64_t buckets) {
    int64_t padded = 0, real = 0;
    for (const auto& batch : corpus.plan(order_of(400, buckets))) {
      int64_t longest = 0;
      for (const int64_t pair : batch) {
        longest = std::max(longest, corpus.lengths[static_cast<size_t>(pair)].second);
        real += corpus.lengths[static_cast<size_t>(pair)].second;
      }
      padded += longest * static_cast<int64_t>(batch.size());
    }
    return static_cast<double>(padded - real) / static_cast<double>(padded);
  };
  CHECK(padding(64) < 0.03);
  CHECK(padding(1) > 0.2);
}

TEST_CASE("without shuffling windows follow the corpus", "[batches]") {
  Corpus corpus(4);
  corpus.lengths = {{8, 8}, {2, 2}, {5, 5}, {1, 4}};
  // Windows of 15 tokens or the first that exceed them: pairs 0, 1, 2 and pair 3.
  CHECK(corpus.plan(order_of(15, 1, false)) == BatchPlan{{1, 2}, {0}, {3}});
  CHECK(corpus.plan(order_of(30, 1, false)) == BatchPlan{{1, 3, 2, 0}});
}

TEST_CASE("a batch is dealt out evenly", "[batches]") {
  const Corpus corpus(400);
  const auto lengths = [&](int64_t pair) { return corpus.lengths.at(static_cast<size_t>(pair)); };
  for (const std::vector<int64_t>& batch : corpus.plan(order_of(300, 4))) {
    for (const int64_t count : {1, 2, 3, 7}) {
      const BatchPlan parts = deal(batch, lengths, count);
      CHECK(parts == deal(batch, lengths, count));
      CHECK(parts.size() == std::min(batch.size(), static_cast<size_t>(count)));
      std::vector<int64_t> all = flat(parts), sums, expected = batch;
      int64_t longest = 0;
      for (const std::vector<int64_t>& part : parts) {
        CHECK_FALSE(part.empty());
        std::vector<size_t> places;
        sums.push_back(0);
        for (const int64_t pair : part) {
          places.push_back(static_cast<size_t>(std::find(batch.begin(), batch.end(), pair) - batch.begin()));
          const int64_t tokens = lengths(pair).first + lengths(pair).second + 2;
          sums.back() += tokens;
          longest = std::max(longest, tokens);
        }
        CHECK(std::is_sorted(places.begin(), places.end()));
      }
      CHECK(*std::max_element(sums.begin(), sums.end()) - *std::min_element(sums.begin(), sums.end()) <= longest);
      std::sort(all.begin(), all.end());
      std::sort(expected.begin(), expected.end());
      CHECK(all == expected);
    }
  }
  CHECK(deal({}, lengths, 3).empty());
}
