#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace seqmill {

void fail_errno(const std::string& message) {
  const int code = errno;
  throw Error(message + ": " + std::strerror(code), kExitFailure);
}

}  // namespace seqmill
