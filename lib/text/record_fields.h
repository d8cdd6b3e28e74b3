#pragma once
// What the readers of records do alike with the fields of one. Errors say what is wrong, for the caller to put the record's place before.

#include <string>
#include <vector>

#include "base/error.h"
#include "io/json.h"
#include "text/chat.h"

namespace seqmill::text {

/// Runs `work`, whose errors get `place` put before them.
template <typename Work>
auto within(const std::string& place, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(place + ": " + error.what(), error.exit_code());
  }
}

/// The value of the field `key` as a text.
inline const std::string& string_of(const io::Json& value, const std::string& key) {
  if (!value.is_string()) fail("\"{}\" is {}, expected a string", key, value.type_name());
  return value.as_string();
}

/// The value of the field `key` as a prompt: a text, or messages.
inline std::vector<Message> messages_of(const io::Json& value, const std::string& key) {
  if (!value.is_array() && !value.is_string()) fail("\"{}\" is {}, expected a string or a list of messages", key, value.type_name());
  return within("\"" + key + "\"", [&] { return read_messages(value); });
}

}  // namespace seqmill::text
