#include "base/version.h"

#include <fmt/format.h>

namespace seqmill {
namespace {

std::vector<std::pair<std::string, std::string>>& extra_lines() {
  static std::vector<std::pair<std::string, std::string>> lines;
  return lines;
}

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

std::string instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  std::string found = "x86-64";
  if (__builtin_cpu_supports("avx2")) found += " avx2";
  if (__builtin_cpu_supports("fma")) found += " fma";
  if (__builtin_cpu_supports("avx512f")) found += " avx512f";
  if (__builtin_cpu_supports("avx512vnni")) found += " avx512vnni";
  return found;
#else
  return "generic";
#endif
}

}  // namespace

std::string version() { return SEQMILL_VERSION; }

void add_version_line(const std::string& name, const std::string& value) { extra_lines().emplace_back(name, value); }

std::vector<std::pair<std::string, std::string>> version_lines() {
  std::vector<std::pair<std::string, std::string>> lines{
      {"compiler", compiler()}, {"build", SEQMILL_BUILD_TYPE}, {"instruction set", instruction_set()}};
  lines.insert(lines.end(), extra_lines().begin(), extra_lines().end());
  return lines;
}

}  // namespace seqmill
