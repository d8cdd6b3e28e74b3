#pragma once
// What a run directory tells about how it was made: config.yaml, command.txt, log.

#include <string>

#include "io/run_dir.h"

namespace seqmill::train {

class RunRecord {
 public:
  /// Starts command.txt's entry and the copy of the log. When the run holds checkpoints, refuses (usage error) a configuration that
  /// describes another model or vocabulary than config.yaml, and names what else has changed.
  RunRecord(const io::RunDir& run, const std::string& config_yaml, const std::string& command_line, const std::string& host,
            const std::string& started);
  /// Writes config.yaml: call it when nothing stands in the session's way any more, so that a session that is refused leaves the run as
  /// it was.
  void write_config() const;
  /// Ends the entry of command.txt. Never throws.
  void finish(int exit_code);

 private:
  std::string command_file_, config_file_, config_yaml_;
};

}  // namespace seqmill::train
