#pragma once

#include <cstdint>
#include <vector>

namespace seqmill::infer {

/// A sequence by the ids of its tokens.
using Tokens = std::vector<int32_t>;

}  // namespace seqmill::infer
