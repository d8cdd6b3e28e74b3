#include <catch2/catch.hpp>

#include "fake_decoder.h"
#include "search/ensemble.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

std::unique_ptr<Ensemble> ensemble_of(const std::vector<Model>& models, std::vector<double> weights = {},
                                      const std::vector<uint64_t>& keys = {0, 1, 2}) {
  std::vector<std::unique_ptr<StepDecoder>> members;
  for (const Model& model : models) members.push_back(std::make_unique<FakeDecoder>(keys, model));
  return std::make_unique<Ensemble>(std::move(members), std::move(weights));
}

}  // namespace

TEST_CASE("a model with itself is the model, exactly", "[ensemble]") {
  const Model model = random_model(3, 7);
  for (const size_t members : {1, 2, 3, 5}) {
    const auto ensemble = ensemble_of(std::vector<Model>(members, model));
    const SearchOptions options = options_with(4, 4, 7);
    const auto together = search::search(*ensemble, std::vector<SentenceInput>(3), kBos, kEos, options, 1);
    const auto alone = run(model, {0, 1, 2}, options);
    for (size_t s = 0; s < 3; ++s) CHECK(same(together[s], alone[s]));
  }
}

TEST_CASE("probabilities are averaged", "[ensemble]") {
  const Model a = [](uint64_t, const std::vector<int32_t>&) { return logs({0.1, 0.9, 0.0, 0.0}); };
  const Model b = [](uint64_t, const std::vector<int32_t>&) { return logs({0.3, 0.3, 0.4, 0.0}); };
  auto ensemble = ensemble_of({a, b});
  const float* equal = ensemble->advance({0, 1}, {kBos, kBos});
  for (const int row : {0, 1}) {
    CHECK(equal[4 * row + 0] == Approx(std::log(0.2)));
    CHECK(equal[4 * row + 1] == Approx(std::log(0.6)));
    CHECK(equal[4 * row + 2] == Approx(std::log(0.2)));
    CHECK(equal[4 * row + 3] == -INFINITY);
  }
  ensemble = ensemble_of({a, b}, {3, 1});
  const float* weighted = ensemble->advance({0}, {kBos});
  CHECK(weighted[0] == Approx(std::log(0.15)));
  CHECK(weighted[2] == Approx(std::log(0.1)));
}

TEST_CASE("tiny probabilities do not vanish, and NaN stays", "[ensemble]") {
  const Model a = [](uint64_t, const std::vector<int32_t>&) { return std::vector<float>{-200.0f, -1.0f, NAN}; };
  const Model b = [](uint64_t, const std::vector<int32_t>&) { return std::vector<float>{-201.0f, NAN, -1.0f}; };
  const auto ensemble = ensemble_of({a, b});
  const float* row = ensemble->advance({0}, {kBos});
  CHECK(row[0] == Approx(-200 + std::log((1 + std::exp(-1.0)) / 2)));
  CHECK(std::isnan(row[1]));
  CHECK(std::isnan(row[2]));
}

TEST_CASE("members must fit together", "[ensemble]") {
  const Model seven = random_model(1, 7), nine = random_model(1, 9);
  CHECK_THROWS_WITH(ensemble_of({seven, nine}), Catch::Contains("vocabulary of 9"));
  CHECK_THROWS_AS(ensemble_of({}), Error);
  CHECK_THROWS_AS(ensemble_of({seven, seven}, {1}), Error);
  CHECK_THROWS_AS(ensemble_of({seven, seven}, {1, 0}), Error);
  std::vector<std::unique_ptr<StepDecoder>> members;
  members.push_back(std::make_unique<FakeDecoder>(std::vector<uint64_t>{0}, seven));
  members.push_back(std::make_unique<FakeDecoder>(std::vector<uint64_t>{0, 1}, seven));
  CHECK_THROWS_WITH(Ensemble(std::move(members)), Catch::Contains("2 sentences"));
}
