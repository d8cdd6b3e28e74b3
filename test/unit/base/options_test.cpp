#include "base/options.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/registry.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::test;

namespace {

struct Settings {
  int64_t dim = 512;
  double dropout = 0.1;
  std::string type = "transformer";
  std::vector<std::string> files;
  bool tied = true;

  void declare(Options& options) {
    options.group("Model");
    options.add("model.dim", dim, "width").range(1, 4096);
    options.add("model.dropout", dropout, "share of zeros").range(0, 1);
    options.add("model.type", type, "architecture").one_of({"transformer", "recurrent"});
    options.group("Data");
    options.add("files", files, "what to read").placeholder("FILE").required();
    options.add("tied", tied, "share embeddings").transient();
  }
};

struct Shape {
  static const char* kind() { return "shape"; }
  int corners;
};

}  // namespace

TEST_CASE("declared options know their defaults, groups and properties") {
  Settings settings;
  Options options;
  settings.declare(options);
  REQUIRE(options.all().size() == 5);
  const Option& dim = *options.find("model.dim");
  CHECK(dim.default_text() == "512");
  CHECK(dim.group() == "Model");
  CHECK(dim.help() == "width");
  CHECK_FALSE(dim.is_given());
  const Option& files = *options.find("files");
  CHECK(files.is_list());
  CHECK(files.is_required());
  CHECK(files.placeholder_text() == "FILE");
  CHECK(files.group() == "Data");
  CHECK(options.find("tied")->is_flag());
  CHECK(options.find("tied")->is_transient());
  CHECK(options.find("model.dropout")->default_text() == "0.1");
  CHECK(options.find("none") == nullptr);
}

TEST_CASE("setting an option changes its field or says what is wrong") {
  Settings settings;
  Options options;
  settings.declare(options);
  Option& dim = *options.find("model.dim");
  CHECK(dim.set({"64"}).empty());
  CHECK(settings.dim == 64);
  CHECK(dim.is_given());
  CHECK(dim.values() == std::vector<std::string>{"64"});
  CHECK(dim.set({"abc"}) == "'abc' is not an integer");
  CHECK(dim.set({"0"}).find("outside 1..4096") != std::string::npos);
  CHECK(dim.set({"1", "2"}) == "takes one value, found 2");
  CHECK(options.find("model.dropout")->set({"nan"}).find("not a finite number") != std::string::npos);
  CHECK(options.find("model.type")->set({"transfomer"}).find("did you mean 'transformer'?") != std::string::npos);
  CHECK(options.find("tied")->set({"yes"}).find("neither true nor false") != std::string::npos);
  CHECK(options.find("tied")->set({"false"}).empty());
  CHECK_FALSE(settings.tied);
  CHECK(options.find("files")->set({"a", "b"}).empty());
  CHECK(options.find("files")->set({"c"}).empty());
  CHECK(settings.files == std::vector<std::string>{"c"});
}

TEST_CASE("an option is declared once") {
  Settings settings;
  Options options;
  settings.declare(options);
  CHECK(failure_of([&] { settings.declare(options); }).says("--model.dim is declared twice"));
}

TEST_CASE("previews show what was given before anything is declared") {
  Options options;
  CHECK(options.preview("model.type", "transformer") == "transformer");
  options.set_previews({{"model.type", "recurrent"}});
  CHECK(options.preview("model.type", "transformer") == "recurrent");
}

TEST_CASE("a registry finds names, guesses at misspelt ones and refuses doubles") {
  static const Registration<Shape> square{"square", {4}}, triangle{"triangle", {3}};
  const auto& registry = Registry<Shape>::instance();
  CHECK(registry.get("square").corners == 4);
  CHECK(registry.names() == std::vector<std::string>{"square", "triangle"});
  const Failure failure = failure_of([&] { registry.get("sqare"); });
  CHECK(failure.exit_code == kExitUsage);
  CHECK(failure.message == "unknown shape 'sqare'; did you mean 'square'?; known: square, triangle");
  CHECK(failure_of([] { Registration<Shape>("square", {5}); }).says("shape 'square' is registered twice"));
}
