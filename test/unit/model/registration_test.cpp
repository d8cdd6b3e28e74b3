#include <catch2/catch.hpp>
#include <regex>

#include "model/lm.h"
#include "model/seq2seq.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

/// The registries that files of lib/model may fill.
std::map<std::string, std::vector<std::string>> registered() {
  return {{"Seq2SeqType", Registry<model::Seq2SeqType>::instance().names()}, {"LmType", Registry<model::LmType>::instance().names()}};
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("every architecture of lib/model is in its registry, and nothing else is", "[registration]") {
  const fs::path folder = fs::path(__FILE__).parent_path() / "../../../lib/model";
  REQUIRE(fs::is_directory(folder));
  const auto registries = registered();
  std::map<std::string, std::vector<std::string>> in_source;
  const std::regex registration("Registration<(\\w+)>\\s*\\w*\\s*\\{\\s*\"([^\"]*)\"");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string source = get(entry.path().string());
    CAPTURE(entry.path().string());
    size_t understood = 0;
    for (std::sregex_iterator match(source.begin(), source.end(), registration), end; match != end; ++match) {
      ++understood;
      const std::string kind = (*match)[1], name = (*match)[2];
      REQUIRE(registries.count(kind) == 1);
      CHECK(std::regex_match(name, std::regex("[a-z0-9]+(-[a-z0-9]+)*")));
      in_source[kind].push_back(name);
    }
    CHECK(understood == count(source, "Registration<"));
  }
  for (const auto& [kind, names] : registries) {
    std::vector<std::string>& found = in_source[kind];
    std::sort(found.begin(), found.end());
    CHECK(found == names);
  }
  CHECK_FALSE(in_source["Seq2SeqType"].empty());
}

TEST_CASE("the list of models names each with its paper", "[registration]") {
  const std::string list = model::list_seq2seq_models();
  const auto& registry = Registry<model::Seq2SeqType>::instance();
  CHECK(count(list, "\n") == registry.names().size());
  for (const std::string& name : registry.names()) {
    CHECK(count(list, name) >= 1);
    CHECK_FALSE(registry.get(name).paper.empty());
    CHECK(count(list, registry.get(name).paper) == 1);
  }
}

TEST_CASE("an unknown architecture is refused, where it is set, with the nearest name", "[registration]") {
  Options options;
  options.set_previews({{"model.type", "transfomer"}});
  std::string type = "transformer";
  model::declare_seq2seq(options, type);
  const std::string wrong = options.find("model.type")->set({"transfomer"});
  CHECK(wrong.find("'transfomer' is not one of") == 0);
  CHECK(wrong.find("did you mean 'transformer'?") != std::string::npos);
  CHECK(type == "transformer");
}
