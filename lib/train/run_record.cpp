#include "train/run_record.h"

#include <ctime>
#include <filesystem>
#include <map>

#include "base/error.h"
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

/// Whether a checkpoint would mean something else under another value. Dropout may change in the course of a run. Vocabularies are compared
/// by what they hold, not here.
bool defines_model(const std::string& key) {
  return starts_with(key, "model.") && !ends_with(key, "dropout");
}

void check_changes(const std::string& path, const std::string& config_yaml, bool has_checkpoint) {
  if (!std::filesystem::exists(path)) return;
  const auto before = by_key(io::read_yaml(path)), now = by_key(io::parse_yaml(config_yaml, "the new configuration"));
  for (const auto& [key, value] : now) {
    const auto old = before.find(key);
    if (old != before.end() && old->second == value) continue;
    const std::string was = old == before.end() ? "not there" : "'" + old->second + "'";
    if (has_checkpoint && defines_model(key)) {
      fail_usage("--{} {}: this run was begun with {}, and its checkpoints are of that model; give another --run to begin anew", key,
                 value, was);
    }
    log::warn("changed since the last session of this run: {} from {} to '{}'", key, was, value);
  }
}

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  char text[64] = "";
  std::tm parts{};
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &parts));
  return text;
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
