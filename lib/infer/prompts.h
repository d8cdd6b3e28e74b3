#pragma once
// Prompts that a model has no room for.

#include <cstdint>

#include "infer/tokens.h"

namespace seqmill::infer {

/// Keeps the last `most` tokens of a prompt, at least one; a begin symbol in front stays where there is place for more than one. Returns whether it was longer.
bool cut_left(Tokens& prompt, int64_t most, int32_t bos);

}  // namespace seqmill::infer
