#pragma once
// What every executable shares: parsing, help, version, configuration files, logging, threads, exit codes. This layer alone sees
// CLI11, argv and the environment.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/launch.h"
#include "base/options.h"

namespace seqmill::cli {

/// The resolved call, as a tool's body sees it.
struct Invocation {
  uint64_t seed = 1;
  int threads = 1;            ///< resolved, at least 1
  bool quiet = false;
  bool progress = false;      ///< stderr is a terminal and progress may be rewritten in place
  bool prints_to_terminal = false;  ///< so is stdout: results would mingle with progress
  std::string command_line;   ///< quoted for a shell
  std::string config_yaml;    ///< every resolved key that is not transient
  std::string started;        ///< local time, ISO 8601
  std::string host;
  Launch launch;              ///< the place among processes started together
};

/// A switch that prints something and ends, as --version does.
struct Action {
  std::string name;  ///< without the dashes
  std::string help;
  std::function<std::string()> text;
};

struct Tool {
  std::string name;
  std::string summary;                ///< one or two sentences
  std::vector<std::string> examples;  ///< two or more runnable lines
  std::function<void(Options&)> declare;
  std::function<void(const Invocation&)> run;
  std::vector<Action> actions;
  /// Optional: puts what they stand for in place of values such as "auto", before Invocation::config_yaml is made.
  std::function<void(const Launch&)> resolve = {};
  /// Whether processes started together work together. Others ignore how they were started.
  bool runs_in_ranks = false;
};

/// Parses, runs, maps errors to exit codes, flushes and checks standard output. Call it as `return tool_main(argc, argv, tool);`.
int tool_main(int argc, char** argv, const Tool& tool);

}  // namespace seqmill::cli
