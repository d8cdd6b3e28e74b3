#include "data/chat_corpus.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "data/lm_corpus.h"
#include "data/reading_progress.h"
#include "text/records.h"

namespace seqmill::data {
namespace {

constexpr TokenFileKind kKind = "sqmchat2";
constexpr size_t kTogether = 4096;  // records worked on together, shared out among the threads

/// The place behind the last token that is learned.
size_t answers_end(const text::ChatTokens& conversation) {
  const auto last = std::find(conversation.learned.rbegin(), conversation.learned.rend(), true);
  return static_cast<size_t>(conversation.learned.rend() - last);
}

class Builder {
 public:
  Builder(const text::ChatTemplate& frame, int32_t bos, int64_t window, const std::string& path, bool progress, bool skip_bad)
      : frame_(frame), bos_(bos), window_(window), file_(path, kKind), progress_(progress), skip_bad_(skip_bad) {}

  void build(const std::vector<std::string>& files, const Fingerprint& fingerprint) {
    for (const std::string& path : files) read(path);
    file_.close(fingerprint, counts_);
  }

 private:
  /// A record, and what the template makes of it.
  struct Conversation {
    std::string place;
    std::vector<text::Message> messages;
    text::ChatTokens framed = {};
    std::string error = {};
  };

  void read(const std::string& path) {
    text::RecordReader reader(path);
    bool more = true;
    while (more) {
      std::vector<Conversation> conversations;
      while (conversations.size() < kTogether && more) {
        const auto read = [&] {
          text::Record record;
          if (!reader.next(record)) return false;
          const std::string place = record.place;
          conversations.push_back({place, text::read_conversation(std::move(record), text::EmptyPrompts::kRefuse).messages});
          return true;
        };
        more = text::read_or_leave_out(skip_bad_, [&] { return reader.line_number(); }, read, [&](const Error& error) { leave_out(error.what()); });
      }
      frame_all(conversations);
      for (const Conversation& conversation : conversations) add(conversation);
    }
    if (reader.line_number() == 0) fail("{} is empty: it holds no record", path);
  }

  void frame_all(std::vector<Conversation>& conversations) const {
    parallel_for(static_cast<int64_t>(conversations.size()), 16, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        try {
          conversations[i].framed = frame_.conversation(conversations[i].messages);
        } catch (const Error& error) {
          conversations[i].error = error.what();
        }
      }
    });
  }

  void add(const Conversation& conversation) {
    if (!conversation.error.empty()) {
      const std::string message = fmt::format("{}: {}", conversation.place, conversation.error);
      if (!skip_bad_) throw Error(message);
      return leave_out(message);
    }
    ++counts_.records;
    for (const text::Message& message : conversation.messages) bytes_ += static_cast<int64_t>(message.content.size());
    progress_.show(bytes_);
    const text::ChatTokens kept = cut_conversation(conversation.framed, window_, bos_);
    if (kept.tokens.empty()) {
      ++counts_.too_long;
      return;
    }
    ++counts_.kept;
    if (kept.tokens.size() < answers_end(conversation.framed)) ++counts_.cut;
    put(kept);
  }

  void leave_out(const std::string& message) {
    log::warn("left out: {}", message);
    ++counts_.records;
    ++counts_.bad;
  }

  void put(const text::ChatTokens& conversation) {
    Tokens stored = conversation.tokens;
    for (size_t i = 0; i < stored.size(); ++i) {
      if (!conversation.learned[i]) stored[i] = ~stored[i];
    }
    file_.begin_entry();
    file_.put(stored);
    counts_.tokens += static_cast<int64_t>(stored.size());
    counts_.learned += std::count(conversation.learned.begin(), conversation.learned.end(), true);
  }

  const text::ChatTemplate& frame_;
  int32_t bos_;
  int64_t window_;
  TokenFileWriter file_;
  ReadingProgress progress_;
  bool skip_bad_;
  ChatCounts counts_;
  int64_t bytes_ = 0;
};

/// By what it does to conversations: a template may be a file that has changed.
void add_template(Fingerprint& fingerprint, const text::ChatTemplate& frame) {
  const std::vector<text::Message> turns{{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}};
  std::vector<text::Message> with_system = turns;
  with_system.insert(with_system.begin(), {"system", "e"});
  for (const std::vector<text::Message>& messages : {turns, with_system}) {
    try {
      const text::ChatTokens chat = frame.conversation(messages);
      for (size_t i = 0; i < chat.tokens.size(); ++i) fingerprint.add(static_cast<uint64_t>(chat.tokens[i])).add(uint64_t{chat.learned[i]});
    } catch (const Error& error) {
      fingerprint.add(std::string_view(error.what()));  // it has no place for one of the roles
    }
  }
}

}  // namespace

text::ChatTokens cut_conversation(const text::ChatTokens& conversation, int64_t window, int32_t bos) {
  const size_t end = answers_end(conversation);
  size_t answer = end;  // where the last one begins
  while (answer > 0 && conversation.learned[answer - 1]) --answer;
  const auto most = static_cast<size_t>(window) + 1;
  const bool begins = bos >= 0 && end > 0 && conversation.tokens[0] == bos;
  text::ChatTokens kept;
  if (end <= most) {
    kept.tokens.assign(conversation.tokens.begin(), conversation.tokens.begin() + static_cast<std::ptrdiff_t>(end));
    kept.learned.assign(conversation.learned.begin(), conversation.learned.begin() + static_cast<std::ptrdiff_t>(end));
    return kept.tokens.size() < 2 ? text::ChatTokens{} : kept;
  }
  const size_t first = end - most + (begins ? 1 : 0);  // of what is kept besides the begin symbol
  if (first > answer || (first == answer && !begins)) return {};
  if (begins) {
    kept.tokens.push_back(bos);
    kept.learned.push_back(false);
  }
  kept.tokens.insert(kept.tokens.end(), conversation.tokens.begin() + static_cast<std::ptrdiff_t>(first),
                     conversation.tokens.begin() + static_cast<std::ptrdiff_t>(end));
  bool in_cut_answer = true;
  for (size_t i = first; i < end; ++i) {
    in_cut_answer = in_cut_answer && i < answer && conversation.learned[i];
    kept.learned.push_back(conversation.learned[i] && !in_cut_answer);
  }
  return kept;
}

ChatCorpus::ChatCorpus(const std::vector<std::string>& files, const text::ChatTemplate& frame, const text::Tokenizer& tokenizer, int64_t window,
                       const std::string& cache, bool progress, bool skip_bad) {
  Fingerprint fingerprint;
  fingerprint.add(uint64_t{skip_bad});
  for (const std::string& path : files) fingerprint.add_file(path);
  fingerprint.add(static_cast<uint64_t>(window));
  add_tokenizer(fingerprint, tokenizer);
  add_template(fingerprint, frame);
  if (!file_.open(cache, kKind, &fingerprint, counts_)) {
    Builder(frame, tokenizer.bos(), window, cache, progress, skip_bad).build(files, fingerprint);
    if (!file_.open(cache, kKind, &fingerprint, counts_)) fail("{} cannot be read back", cache);
  }
  if (counts_.kept > 0) return;
  const std::string bad = counts_.bad > 0 ? fmt::format("{} records are bad, ", counts_.bad) : "";
  fail("no conversation of {} is left: {}the answers of all {} have more than {} tokens", files.front(), bad, counts_.records - counts_.bad, window);
}

ChatCorpus::ChatCorpus(const std::string& cache) {
  if (!file_.open(cache, kKind, nullptr, counts_)) fail_not_shared(cache);
}

text::ChatTokens ChatCorpus::conversation(int64_t number) const {
  text::ChatTokens conversation{file_.entry(number), {}};
  for (int32_t& id : conversation.tokens) {
    conversation.learned.push_back(id >= 0);
    if (id < 0) id = ~id;
  }
  return conversation;
}

}  // namespace seqmill::data
