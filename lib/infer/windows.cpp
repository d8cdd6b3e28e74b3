#include "infer/windows.h"

#include "base/error.h"

namespace seqmill::infer {

std::vector<Window> plan_windows(int64_t tokens, int64_t window, int64_t stride) {
  if (window < 1) fail_usage("--window is {}; expected 1 or more", window);
  if (stride < 1 || stride > window) fail_usage("--stride is {}; expected 1 to {}, the tokens of a window", stride, window);
  std::vector<Window> windows;
  for (int64_t begin = 0, scored = 1; scored < tokens; begin += stride) {
    const int64_t end = tokens - begin > window ? begin + window + 1 : tokens;
    windows.push_back({begin, end, scored});
    scored = end;
  }
  return windows;
}

}  // namespace seqmill::infer
