#include "models.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

constexpr int64_t kVocabulary = 23;
const VocabularySizes kSizes{kVocabulary, kVocabulary, true};
const std::vector<int64_t> kLengths = {5, 1, 8};

/// Hypotheses under way: what a search would keep of its rows.
struct Rows {
  std::vector<Tokens> sources, prefixes;
};

/// log p of every next token [rows, V] by a pass over whole prefixes.
at::Tensor full_pass(const Seq2Seq& model, const Rows& rows) {
  at::NoGradGuard no_grad;
  const data::Batch batch = batch_of(rows.sources, rows.prefixes);
  std::vector<int64_t> last;
  for (size_t i = 0; i < rows.prefixes.size(); ++i) {
    last.push_back(batch.target_input.spans.begin[i] + batch.target_input.spans.length[i] - 1);
  }
  const OutputLayer output = model.output_layer();
  const at::Tensor hidden = model.features(batch, nullptr).index_select(0, at::tensor(last));
  return at::log_softmax(at::linear(hidden, output.weight, output.bias).to(at::kDouble), -1);
}

/// Takes `steps` steps, choosing parents by `choose(step, rows so far)`, and compares each with full passes.
template <typename Choose>
double largest_difference(const Seq2Seq& model, int steps, uint64_t seed, Choose choose) {
  const std::vector<Tokens> sources = random_sequences(kLengths, kVocabulary, seed);
  const auto decoder = model.start(packed(sources));
  REQUIRE(decoder->sentences() == 3);
  REQUIRE(decoder->vocabulary_size() == kVocabulary);
  Rng rng(seed, "tokens");
  Rows rows{sources, std::vector<Tokens>(sources.size())};
  double worst = 0;
  for (int step = 0; step < steps; ++step) {
    const std::vector<int32_t> parents = choose(step, rows.sources.size());
    std::vector<int32_t> tokens;
    Rows next;
    for (const int32_t parent : parents) {
      tokens.push_back(step == 0 ? kBos : kFirstToken + static_cast<int32_t>(rng.below(kVocabulary - kFirstToken)));
      next.sources.push_back(rows.sources.at(static_cast<size_t>(parent)));
      next.prefixes.push_back(rows.prefixes.at(static_cast<size_t>(parent)));
      if (step > 0) next.prefixes.back().push_back(tokens.back());
    }
    rows = std::move(next);
    float* logprobs = decoder->advance(parents, tokens);
    const auto count = static_cast<int64_t>(parents.size());
    const double now = difference(at::from_blob(logprobs, {count, kVocabulary}, at::kFloat), full_pass(model, rows));
    if (!(now <= worst)) worst = now;
    std::fill(logprobs, logprobs + count * kVocabulary, NAN);  // the caller may overwrite them
  }
  return worst;
}

std::vector<int32_t> same_rows(int, size_t rows) {
  std::vector<int32_t> parents;
  for (size_t i = 0; i < rows; ++i) parents.push_back(static_cast<int32_t>(i));
  return parents;
}

}  // namespace

TEST_CASE("decoding step by step gives the probabilities of a pass over the whole target", "[transformer][decode]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    CHECK(largest_difference(*model, 18, 5, same_rows) < 1e-4);
  }
}

TEST_CASE("rows that are reordered, dropped and doubled go on as themselves", "[transformer][decode]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    Rng rng(11, "parents");
    const auto choose = [&](int, size_t rows) {
      std::vector<int32_t> parents;
      for (uint64_t n = 1 + rng.below(6); n > 0; --n) parents.push_back(static_cast<int32_t>(rng.below(rows)));
      return parents;
    };
    CHECK(largest_difference(*model, 18, 6, choose) < 1e-4);
  }
}

TEST_CASE("the caches grow while rows come and go", "[transformer][decode]") {
  const auto model = random_model(small({{"positions", "rotary"}}), kSizes);
  Rng rng(3, "parents");
  const auto choose = [&](int step, size_t rows) {
    std::vector<int32_t> parents = same_rows(step, rows);
    if (step % 7 == 3) parents.push_back(static_cast<int32_t>(rng.below(rows)));
    if (step % 7 == 6 && parents.size() > 1) std::swap(parents.front(), parents.back());
    if (step % 11 == 9 && parents.size() > 2) parents.erase(parents.begin());
    return parents;
  };
  CHECK(largest_difference(*model, 70, 7, choose) < 1e-4);
}

TEST_CASE("decoding in double agrees with the fast path", "[transformer][decode]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto twin = general_twin(settings, kSizes);
    Rng rng(11, "parents");
    const auto choose = [&](int, size_t rows) {
      std::vector<int32_t> parents;
      for (uint64_t n = 1 + rng.below(4); n > 0; --n) parents.push_back(static_cast<int32_t>(rng.below(rows)));
      return parents;
    };
    CHECK(largest_difference(*twin, 6, 6, choose) < 1e-6);
  }
}

TEST_CASE("the other sentences of a batch change no bit of a decoding step", "[transformer][decode]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    const std::vector<Tokens> sources = random_sequences({5, 1, 8, 3, 3, 12, 7}, kVocabulary, 8);
    const auto start = [&](const std::vector<Tokens>& batch) { return model->start(packed(batch)); };
    CHECK(rows_changed_by_company(sources, kVocabulary, start) == 0);
  }
}

TEST_CASE("a parent outside the rows is refused", "[transformer][decode]") {
  const auto model = random_model(small(), kSizes);
  const auto decoder = model->start(packed(random_sequences({2, 3}, kVocabulary, 1)));
  CHECK_THROWS(decoder->advance({0, 2}, {kBos, kBos}));
}
