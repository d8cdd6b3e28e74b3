#include "base/exit.h"

#include <atomic>

namespace seqmill {
namespace {

std::atomic<bool> without_clean_up{false};

}  // namespace

void exit_without_clean_up() { without_clean_up = true; }
bool exits_without_clean_up() { return without_clean_up; }

}  // namespace seqmill
