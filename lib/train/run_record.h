#pragma once
// What a run directory tells about how it was made: config.yaml, command.txt, log.

#include <string>

#include "io/run_dir.h"

namespace seqmill::train {

class RunRecord {
 public:
  /// Writes config.yaml (naming keys that differ from a former session's), starts command.txt's entry and the copy of the log.
  RunRecord(const io::RunDir& run, const std::string& config_yaml, const std::string& command_line, const std::string& host,
            const std::string& started);
  /// Ends the entry of command.txt. Never throws.
  void finish(int exit_code);

 private:
  std::string command_file_;
};

}  // namespace seqmill::train
