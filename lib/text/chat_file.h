#pragma once
// Templates of conversations in files (docs/formats.md#templates).

#include <string>

#include "text/chat_frame.h"
#include "text/tokenizer.h"

namespace seqmill::text {

/// Throws a usage error naming file and line.
ChatFrames read_chat_file(const std::string& path, const Tokenizer& tokenizer);

}  // namespace seqmill::text
