#include "base/memory.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <limits>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::test;

TEST_CASE("available memory is the machine's, or what a container leaves of it") {
  TempDir dir;
  const std::string meminfo = put(dir / "meminfo", "MemTotal:       2000 kB\nMemFree:         100 kB\nMemAvailable:   1000 kB\n");
  CHECK(available_memory(meminfo, dir / "none") == 1000 * 1024);
  CHECK(available_memory(dir / "none", dir / "none") == std::numeric_limits<int64_t>::max());
  CHECK(available_memory() > 0);

  const std::string group = dir / "group";
  std::filesystem::create_directories(group);
  put(group + "/memory.max", "500000\n");
  put(group + "/memory.current", "300000\n");
  put(group + "/memory.stat", "anon 1\ninactive_file 20000\nactive_file 30000\n");
  CHECK(available_memory(meminfo, group) == 250000);
  put(group + "/memory.current", "900000\n");
  CHECK(available_memory(meminfo, group) == 0);
  put(group + "/memory.max", "max\n");
  CHECK(available_memory(meminfo, group) == 1000 * 1024);

  const std::string old = dir / "old";
  std::filesystem::create_directories(old + "/memory");
  put(old + "/memory/memory.limit_in_bytes", "400000\n");
  put(old + "/memory/memory.usage_in_bytes", "100000\n");
  put(old + "/memory/memory.stat", "total_inactive_file 5000\n");
  CHECK(available_memory(meminfo, old) == 305000);
}

TEST_CASE("bytes for people") {
  CHECK(format_bytes(0) == "0 bytes");
  CHECK(format_bytes(1023) == "1023 bytes");
  CHECK(format_bytes(1536) == "1.50 KiB");
  CHECK(format_bytes(int64_t{5} << 30) == "5.00 GiB");
  CHECK(format_bytes(std::numeric_limits<int64_t>::max()) == "8192.00 PiB");
}
