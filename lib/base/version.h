#pragma once

#include <string>
#include <utility>
#include <vector>

namespace seqmill {

/// "0.1.0".
std::string version();
/// What `--version` prints below the version: compiler, build type, instruction set, in (name, value) pairs. A layer that
/// brings in a library adds its own line with `add_version_line` while the program starts.
std::vector<std::pair<std::string, std::string>> version_lines();
void add_version_line(const std::string& name, const std::string& value);

}  // namespace seqmill
