#pragma once
// The parts of which templates of conversations are made.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace seqmill::text {

/// A text, or a special token.
struct FramePart {
  std::string text;
  int32_t id = -1;  ///< -1: a text
};

/// What stands around the content of a message.
struct RoleFrame {
  std::vector<FramePart> before, after;
};

struct ChatFrames {
  std::vector<FramePart> begin;
  std::optional<RoleFrame> system, user, assistant;  ///< without a frame, a role is refused; there is always one for assistant
  bool trims = false;                                ///< contents lose white space at both ends
};

/// Throws Error for a role that is none, of message `index` from 0.
void check_role(const std::string& role, size_t index);

}  // namespace seqmill::text
