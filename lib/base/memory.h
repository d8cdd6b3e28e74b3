#pragma once

#include <cstdint>
#include <string>

namespace seqmill {

/// Bytes that this process may still take: what the machine has available without swapping, or less under the limit of a container (control groups, versions 1
/// and 2, whose file caches count as available). INT64_MAX where neither is known.
int64_t available_memory(const std::string& meminfo = "/proc/meminfo", const std::string& cgroups = "/sys/fs/cgroup");

/// "1.50 GiB"; bytes as they are below 1 KiB.
std::string format_bytes(int64_t bytes);

}  // namespace seqmill
