#include "base/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>

namespace seqmill {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// The only number of a file; "max", what is none, and no file are kUnknown.
int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value && value >= 0 ? value : kUnknown;
}

// The number behind a name in a file of names and numbers; 0 when it is not there.
int64_t number_after(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  int64_t value = 0;
  while (file >> word) {
    if (word == name && file >> value) return value;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

int64_t left_of(const std::string& limit_file, const std::string& usage_file, int64_t cached) {
  const int64_t limit = number_in(limit_file), used = number_in(usage_file);
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  return std::max<int64_t>(0, limit - std::max<int64_t>(0, used - cached));
}

}  // namespace

int64_t available_memory(const std::string& meminfo, const std::string& cgroups) {
  const int64_t kibibytes = number_after(meminfo, "MemAvailable:");
  const int64_t machine = kibibytes > 0 ? kibibytes * 1024 : kUnknown;
  const std::string old = cgroups + "/memory";
  const int64_t cached = number_after(cgroups + "/memory.stat", "inactive_file") + number_after(cgroups + "/memory.stat", "active_file");
  const int64_t old_cached = number_after(old + "/memory.stat", "total_inactive_file") + number_after(old + "/memory.stat", "total_active_file");
  return std::min({machine, left_of(cgroups + "/memory.max", cgroups + "/memory.current", cached),
                   left_of(old + "/memory.limit_in_bytes", old + "/memory.usage_in_bytes", old_cached)});
}

std::string format_bytes(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.2f} {}", value, kUnits[unit]);
}

}  // namespace seqmill
