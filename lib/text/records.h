#pragma once
// Records in JSON lines: prompts, conversations to learn from, and responses to be scored (docs/formats.md#records).

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/signals.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "text/chat.h"

namespace seqmill::text {

/// A line of a file of records, before anything but its id is looked at.
struct Record {
  std::string id;     ///< in decimal where it is an integer
  std::string place;  ///< "<file>:<line>: record <id>", for messages
  io::Json json;      ///< the whole of it; where it has no "id", the number of its line is put first
};

/// `where`: "<file>:<line>", for messages; `number` is the id of a record that has none. Throws Error "<where>: ..." for what is no
/// JSON object, and for an id that is no string or integer.
Record make_record(io::Json json, const std::string& where, int64_t number);

class RecordReader {
 public:
  explicit RecordReader(const std::string& path);
  /// The next record; false at the end. Throws Error "<file>:<line>: ..." for a line that is no JSON object, or whose id is no string or integer; the next call
  /// goes on behind it.
  bool next(Record& record);
  int64_t line_number() const { return reader_.line_number(); }
  const std::string& name() const { return reader_.name(); }
  /// True when `next` would have to wait for more input.
  bool would_block() const { return reader_.would_block(); }
  /// Waits for more input, for so many milliseconds at most.
  void wait(int milliseconds) const { reader_.wait(milliseconds); }
  /// Of the line last read.
  int64_t line_bytes() const { return static_cast<int64_t>(line_.size()); }

 private:
  io::LineReader reader_;
  std::string line_;
};

/// What read() returns, which reads a record and looks at it. With `skip_bad` its Error about that record goes to leave_out(error), and the answer is true. What the file itself is to blame for, as
/// one that ends too early, would come again and is thrown on: position(), the number of the record last begun, has not moved. So is what has another exit code than that of bad data.
template <typename Position, typename Read, typename LeaveOut>
bool read_or_leave_out(bool skip_bad, Position position, Read read, LeaveOut leave_out) {
  const auto before = position();
  try {
    return read();
  } catch (const Error& error) {
    if (!skip_bad || error.exit_code() != kExitFailure || position() == before) throw;
    leave_out(error);
    return true;
  }
}

/// Calls read(record) for all records of the files. With `skip_bad` one that it throws Error for is left out, with a warning; returns how many were.
int64_t read_all_records(const std::vector<std::string>& files, bool skip_bad, const std::function<void(Record record)>& read);

/// Of lines of records, and of prompts in plain text: 16 MiB.
io::LineLimits record_limits();

/// Waits until a reader has a record, or has come to its end. A signal that asks the process to stop is thrown here, and would not be heard within the reader.
template <typename Reader>
void wait_for_input(const Reader& reader) {
  constexpr int kMoment = 100;  // milliseconds
  for (; reader.would_block(); reader.wait(kMoment)) throw_if_stopped();
}

enum class EmptyPrompts { kRefuse, kAllow };

struct PromptRecord {
  std::string id;
  std::vector<Message> messages;
  io::Json json;  ///< the whole record, unknown fields kept
};

/// {prompt} or {messages}: a string, or a list of {role, content}. A last message without content is an empty prompt. The three functions throw Error "<place>: ...".
PromptRecord read_prompt(Record record, EmptyPrompts empty);

/// A line of plain text as a prompt: {id, prompt}.
PromptRecord plain_prompt(const std::string& text, int64_t line_number);

/// {prompt, response}, {messages} or {instruction, input?, output}; the first and the last with an optional "system" text. At least one message is an answer.
PromptRecord read_conversation(Record record, EmptyPrompts empty);

struct ScoringRecord {
  std::string id;
  std::vector<Message> messages;
  std::vector<std::string> responses;  ///< at least one
  bool is_list = false;                ///< "responses" rather than "response"
  io::Json json;
};

/// {prompt, response} or {prompt, responses}.
ScoringRecord read_scoring(Record record, EmptyPrompts empty);

/// Of files of documents: 64 MB a line.
io::LineLimits document_limits();

/// The document that a JSON line holds. Throws Error "<where>: ...".
std::string document_of(const std::string& line, const std::string& where, const std::string& field);

}  // namespace seqmill::text
