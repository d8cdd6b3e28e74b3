#pragma once

#include <string>

#include "base/options.h"
#include "cli/tool_main.h"

namespace seqmill::cli {

/// What `-h` prints: summary, usage, options by group with types and defaults, examples, exit codes.
std::string help_text(const Tool& tool, const Options& options);
/// What `--version` prints.
std::string version_text(const Tool& tool);

}  // namespace seqmill::cli
