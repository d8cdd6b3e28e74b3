#include "train/run_record.h"

#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/version.h"
#include "io/output.h"
#include "io/yaml.h"

namespace seqmill::train {
namespace {

std::map<std::string, std::string> by_key(const std::vector<io::ConfigEntry>& entries) {
  std::map<std::string, std::string> values;
  for (const io::ConfigEntry& entry : entries) values[entry.key] = join(entry.values, ", ");
  return values;
}

using Values = std::map<std::string, std::string>;

bool trains_vocabulary(const Values& values) {
  const auto size = values.find("vocab-size");
  return size != values.end() && size->second != "0";
}

/// Whether a checkpoint would mean something else under another value. Dropout may change in the course of a run. Given vocabularies are
/// compared by what they hold, not here; how one was made counts while it is made by the run.
bool defines_model(const std::string& key, const Values& before, const Values& now) {
  for (const char* option : {"vocab-type", "vocab-separate", "vocab-coverage", "vocab-byte-fallback"}) {
    if (key == option) return trains_vocabulary(before) && trains_vocabulary(now);
  }
  return (starts_with(key, "model.") || starts_with(key, "lora.") || key == "chat.template") && !ends_with(key, "dropout");
}

void check_changes(const std::string& path, const std::string& config_yaml, bool has_checkpoint) {
  if (!std::filesystem::exists(path)) return;
  const Values before = by_key(io::read_yaml(path)), now = by_key(io::parse_yaml(config_yaml, "the new configuration"));
  for (const auto& [key, value] : now) {
    const auto old = before.find(key);
    // An option that the run's version did not have yet: whether the weights fit is seen when they are loaded.
    if (old == before.end()) {
      log::warn("new since the last session of this run: {} is '{}'", key, value);
      continue;
    }
    if (old->second == value) continue;
    if (has_checkpoint && defines_model(key, before, now)) {
      fail_usage("--{} {}: this run was begun with '{}', and its checkpoints are of that model; give another --run to begin anew", key,
                 value, old->second);
    }
    log::warn("changed since the last session of this run: {} from '{}' to '{}'", key, old->second, value);
  }
  for (const auto& [key, value] : before) {
    if (!now.count(key)) log::warn("gone since the last session of this run: {}, which was '{}'", key, value);
  }
}

}  // namespace

RunRecord::RunRecord(const io::RunDir& run, const std::string& config_yaml, const std::string& command_line,
                     const std::string& host, const std::string& started)
    : command_file_(run.file("command.txt")), config_file_(run.file("config.yaml")), config_yaml_(config_yaml) {
  log::open_copy(run.file("log"));
  check_changes(config_file_, config_yaml, !run.linked("last").empty());
  std::string entry = fmt::format("command: {}\nhost: {}\nseqmill: {}\n", command_line, host, version());
  for (const auto& [name, value] : version_lines()) entry += fmt::format("{}: {}\n", name, value);
  io::append_file(command_file_, entry + fmt::format("start: {}\n", started));
}

void RunRecord::write_config() const { io::write_file(config_file_, config_yaml_); }

void RunRecord::finish(int exit_code) {
  try {
    io::append_file(command_file_, fmt::format("end: {}, exit code {}\n", local_time(), exit_code));
  } catch (const Error& error) {
    // What ended the run is what the user has to see, and often the disk is full for both.
    log::warn("{}", error.what());
  }
}

}  // namespace seqmill::train
