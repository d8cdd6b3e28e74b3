#include "infer/prompts.h"

#include <algorithm>

namespace seqmill::infer {

bool cut_left(Tokens& prompt, int64_t most, int32_t bos) {
  const auto size = static_cast<int64_t>(prompt.size());
  if (size <= most) return false;
  const bool keeps_bos = most > 1 && bos >= 0 && prompt[0] == bos;
  const int64_t kept = std::max<int64_t>(1, most) - (keeps_bos ? 1 : 0);
  prompt.erase(prompt.begin() + (keeps_bos ? 1 : 0), prompt.end() - kept);
  return true;
}

}  // namespace seqmill::infer
