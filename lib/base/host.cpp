#include "base/host.h"

#include <unistd.h>

#include <ctime>

namespace seqmill {

std::string host_name() {
  char text[256] = {};
  return ::gethostname(text, sizeof text - 1) == 0 ? text : "unknown host";
}

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  char text[64];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &parts)));
}

}  // namespace seqmill
