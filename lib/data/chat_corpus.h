#pragma once
// What language models are tuned on: conversations in the frame of a template, read and tokenised once (data/token_file.h).

#include <cstdint>
#include <string>
#include <vector>

#include "data/token_file.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace seqmill::data {

/// What became of the records.
struct ChatCounts {
  int64_t records = 0, kept = 0;
  int64_t bad = 0;       ///< of the records: left out
  int64_t cut = 0;       ///< of those kept: too long, and cut on the left
  int64_t too_long = 0;  ///< left out: the last answer alone is too long
  int64_t tokens = 0;    ///< of the conversations kept
  int64_t learned = 0;   ///< of these
};

class ChatCorpus {
 public:
  /// Of JSON lines of instructions (text/records.h). `cache` names the file to write or use again. A model sees at most `window` tokens of a conversation, so
  /// that with the last token, which is predicted only, it may have one more. Of a longer one the beginning is cut off (but for a begin symbol), and an answer
  /// cut in two is no longer learned; if its last answer and one token before that do not fit, it is left out. What follows the last answer is never
  /// needed. Throws Error for bad records (file and line), and when no conversation is left. `progress`: a status line while it works.
  /// `skip_bad`: leaves bad records out, with a warning for each.
  ChatCorpus(const std::vector<std::string>& files, const text::ChatTemplate& frame, const text::Tokenizer& tokenizer, int64_t window,
             const std::string& cache, bool progress, bool skip_bad = false);
  /// What another process has just made of its records.
  explicit ChatCorpus(const std::string& cache);

  int64_t size() const { return file_.entries(); }
  const ChatCounts& counts() const { return counts_; }
  int64_t length(int64_t conversation) const { return file_.length(conversation); }
  text::ChatTokens conversation(int64_t number) const;
  /// A hash of all lengths: what the plan of the batches depends on.
  uint64_t shape() const { return file_.shape(); }

 private:
  ChatCounts counts_;
  TokenFile file_;  ///< an entry a conversation; what is not learned is stored as its complement ~id
};

/// `conversation` such that a model sees at most `window` tokens of it, as the constructor says. Empty when its last answer does not fit. `bos` -1: none.
text::ChatTokens cut_conversation(const text::ChatTokens& conversation, int64_t window, int32_t bos);

}  // namespace seqmill::data
