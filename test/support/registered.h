#pragma once
// What registers itself in a folder of lib/.

#include <algorithm>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "support/files.h"

namespace seqmill::test {

/// Names that files of `folder` register under `type`, sorted. Each file holds one, its own.
inline std::vector<std::string> names_in_source(const std::filesystem::path& folder, const std::string& type) {
  REQUIRE(std::filesystem::is_directory(folder));
  const std::regex registration("Registration<" + type + ">\\s*\\w*\\s*\\{\\s*\"([^\"]*)\"");
  std::vector<std::string> names;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string source = get(entry.path().string());
    for (std::sregex_iterator match(source.begin(), source.end(), registration), end; match != end; ++match) {
      names.push_back((*match)[1]);
      CHECK(entry.path().stem().string() == names.back());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace seqmill::test
