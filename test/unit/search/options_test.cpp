#include <catch2/catch.hpp>

#include "base/error.h"
#include "search/search.h"

using namespace seqmill;
using namespace seqmill::search;

namespace {

// What is wrong with the defaults after a change, or "".
template <typename Change>
std::string complaint(Change change) {
  SearchOptions options;
  change(options);
  try {
    options.check();
  } catch (const Error& error) {
    CHECK(error.exit_code() == kExitUsage);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("options are declared under their flags", "[options]") {
  SearchOptions search;
  Options options;
  search.declare(options);
  for (const char* key : {"beam", "n-best", "length-penalty", "length-penalty-alpha", "min-length", "max-length",
                          "max-ratio", "max-extra", "early-stop", "sample", "temperature", "top-k", "top-p",
                          "diverse-groups", "diverse-strength"}) {
    REQUIRE(options.find(key));
    CHECK(options.find(key)->group() == "Search");
  }
  CHECK(options.find("length-penalty")->set({"gnmt"}).empty());
  CHECK(options.find("length-penalty-alpha")->set({"0.6"}).empty());
  CHECK(search.length_penalty == "gnmt");
  CHECK(search.alpha == 0.6);
  CHECK_FALSE(options.find("length-penalty")->set({"avrage"}).empty());
  CHECK_FALSE(options.find("beam")->set({"0"}).empty());
  CHECK_FALSE(options.find("temperature")->set({"0"}).empty());
}

TEST_CASE("combinations that make no sense are usage errors", "[options]") {
  using O = SearchOptions;
  using Catch::Contains;
  CHECK(complaint([](O&) {}).empty());
  CHECK_THAT(complaint([](O& o) { o.beam = 0; }), Contains("--beam"));
  CHECK_THAT(complaint([](O& o) { o.n_best = 6; }), Contains("--n-best 6"));
  CHECK(complaint([](O& o) { o.n_best = 6, o.sample = true; }).empty());
  CHECK_THAT(complaint([](O& o) { o.n_best = 0; }), Contains("--n-best"));
  CHECK_THAT(complaint([](O& o) { o.diverse_groups = 2; }), Contains("--diverse-groups"));
  CHECK(complaint([](O& o) { o.diverse_groups = 5; }).empty());
  CHECK_THAT(complaint([](O& o) { o.diverse_groups = 0; }), Contains("--diverse-groups"));
  CHECK_THAT(complaint([](O& o) { o.diverse_groups = 5, o.sample = true; }), Contains("--sample"));
  CHECK_THAT(complaint([](O& o) { o.diverse_strength = -1; }), Contains("--diverse-strength"));
  CHECK_THAT(complaint([](O& o) { o.length_penalty = "wu"; }), Contains("'wu'"));
  CHECK_THAT(complaint([](O& o) { o.alpha = -0.1; }), Contains("--length-penalty-alpha"));
  CHECK_THAT(complaint([](O& o) { o.min_length = 300; }), Contains("--min-length 300"));
  CHECK_THAT(complaint([](O& o) { o.min_length = -1; }), Contains("--min-length"));
  CHECK_THAT(complaint([](O& o) { o.max_length = -1; }), Contains("--max-length"));
  CHECK_THAT(complaint([](O& o) { o.max_ratio = -1; }), Contains("--max-ratio"));
  CHECK_THAT(complaint([](O& o) { o.max_extra = -1; }), Contains("--max-extra"));
  CHECK_THAT(complaint([](O& o) { o.top_k = 5; }), Contains("--sample"));
  CHECK_THAT(complaint([](O& o) { o.top_p = 0.5; }), Contains("--sample"));
  CHECK_THAT(complaint([](O& o) { o.temperature = 0.5; }), Contains("--sample"));
  CHECK_THAT(complaint([](O& o) { o.temperature = 0, o.sample = true; }), Contains("--temperature"));
  CHECK_THAT(complaint([](O& o) { o.top_p = 0, o.sample = true; }), Contains("--top-p"));
  CHECK_THAT(complaint([](O& o) { o.top_p = 1.1, o.sample = true; }), Contains("--top-p"));
  CHECK_THAT(complaint([](O& o) { o.top_k = -1, o.sample = true; }), Contains("--top-k"));
}
