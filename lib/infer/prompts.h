#pragma once
// Records of prompts for language models, and how a prompt becomes tokens that a model has room for.

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "infer/tokens.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "text/chat.h"

namespace seqmill::infer {

struct PromptRecord {
  io::Json json;      ///< an object as it came, its id in front
  std::string id;     ///< for messages
  std::string where;  ///< file and line
};

/// JSON lines, or lines of text, each of which is the prompt of a record. A record without id gets the number of its line, from 0.
class PromptReader {
 public:
  /// `format`: jsonl or text. "-": standard input.
  PromptReader(const std::string& path, const std::string& format);
  /// To the next line; false at the end.
  bool next() { return reader_.next(line_); }
  /// Of this line. Throws Error with file and line for what is no object, and for an id that is neither a string nor an integer.
  PromptRecord record() const;
  /// Whether next() would have to wait for input.
  bool would_block() const { return reader_.would_block(); }
  const std::string& name() const { return reader_.name(); }

 private:
  io::LineReader reader_;
  std::string line_;
  bool is_text_;
};

/// Calls `work`; its Error gets file, line and id in front.
template <typename Work>
auto about(const PromptRecord& record, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    fail("{}: record {}: {}", record.where, record.id, error.what());
  }
}

/// The messages of the field "prompt", a string or a list of {role, content}. Throws Error, without naming the record, when there is none or it is empty.
std::vector<text::Message> prompt_messages(const io::Json& record);

/// Keeps the last `most` tokens of a prompt, at least one; a begin symbol in front stays where there is place for more than one. Returns whether it was longer.
bool cut_left(Tokens& prompt, int64_t most, int32_t bos);

}  // namespace seqmill::infer
