#pragma once

#include <string>

namespace seqmill {

std::string host_name();   ///< "unknown host" where there is none
std::string local_time();  ///< now, ISO 8601: "2026-01-31T12:00:00+0100"

}  // namespace seqmill
