#include "train/lm_tokenizer.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "data/lm_corpus.h"
#include "io/directory.h"
#include "io/line_reader.h"
#include "io/output.h"
#include "text/records.h"
#include "text/tokenizer_config.h"
#include "text/vocabulary.h"

namespace seqmill::train {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestLine = 100000;  // bytes; where a document has longer ones they are cut

/// Writes text in lines that train_vocabulary takes.
class TextWriter {
 public:
  explicit TextWriter(const std::string& path) : file_(path) {}

  void put(const std::string& text) {
    std::string line;
    for (const char c : text + "\n") {
      const bool ends = c == '\n' || (line.size() >= kLongestLine && c == ' ');
      // No character begins with a byte of the form 10xxxxxx.
      const bool overflows = line.size() >= 2 * kLongestLine && (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      if (ends || overflows) {
        file_.write(line + "\n");
        line.clear();
      }
      if (!ends) line += c == '\r' || c == '\0' ? ' ' : c;
    }
  }

  void close() { file_.close(); }

 private:
  io::Output file_;
};

/// What records say, as plain text.
void write_texts(const TokenizerText& text, const std::string& path) {
  TextWriter writer(path);
  for (const std::string& file : text.files) {
    if (text.format == "chat") {
      text::RecordReader reader(file);
      for (text::Record record; reader.next(record);) {
        for (const text::Message& message : text::read_conversation(std::move(record), text::EmptyPrompts::kRefuse).messages) writer.put(message.content);
      }
    } else {
      io::LineReader reader(file, text::document_limits());
      for (std::string line; reader.next(line);) writer.put(text::document_of(line, fmt::format("{}:{}", file, reader.line_number()), text.text_field));
    }
  }
  writer.close();
}

void train_tokenizer(const TokenizerOptions& options, const TokenizerText& text, const io::RunDir& run, int threads) {
  text::VocabularyTraining training;
  training.size = options.size;
  training.type = options.type;
  training.character_coverage = options.character_coverage;
  training.verbatim = true;
  training.threads = threads;
  log::info("training a {} vocabulary of {} pieces", options.type, options.size);
  if (text.format == "text") {
    text::train_vocabulary(text.files, training, run.file("vocab.spm"));
    return;
  }
  const io::TemporaryDirectory folder;
  write_texts(text, folder / "text");
  text::train_vocabulary({folder / "text"}, training, run.file("vocab.spm"));
}

void expect_same(const std::string& given, const text::Tokenizer& kept) {
  if (given.empty()) return;
  if (!fs::exists(given)) {
    log::warn("{} is gone; the run goes on with its own copy, {}", given, kept.path());
    return;
  }
  if (text::same_pieces(*text::load_tokenizer(given), kept)) return;
  fail_usage("{} is another tokeniser than {}, which the checkpoints of this run were trained with", given, kept.path());
}

void remove_files(const io::RunDir& run, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    std::error_code code;
    fs::remove(run.file(name), code);
    if (code) fail("cannot remove {}: {}", run.file(name), code.message());
  }
}

/// What a session left that never came to a checkpoint may be of other options.
void remove_tokenizer(const io::RunDir& run) {
  remove_files(run, {"vocab.spm", "tokenizer.model", "tokenizer.json"});
  remove_files(run, text::tokenizer_companions(run.path()));
}

bool lies_in(const std::string& path, const io::RunDir& run) {
  std::error_code code;
  return fs::equivalent(fs::is_directory(path, code) ? fs::path(path) : fs::absolute(path).parent_path(), run.path(), code);
}

}  // namespace

void TokenizerOptions::declare(Options& options) {
  options.group("Vocabulary");
  options.add("vocab", given, "Tokeniser: vocab.spm, tokenizer.model or tokenizer.json, or a directory with one; default: that of --init-from").placeholder("PATH");
  options.add("vocab-size", size, "Train a SentencePiece vocabulary of this size on the training text").range(0);
  options.add("vocab-type", type, "Kind of vocabulary to train").one_of({"bpe", "unigram"});
  options.add("vocab-coverage", character_coverage, "Share of characters that get a piece of their own; others are spelt in bytes").range(0.98, 1);
}

std::shared_ptr<const text::Tokenizer> prepare_tokenizer(const TokenizerOptions& options, const std::string& init_from, const TokenizerText& text,
                                                         const io::RunDir& run, int threads) {
  if (!options.given.empty() && options.size > 0) fail_usage("give --vocab or --vocab-size, not both");
  if (!run.linked("last").empty()) {
    const auto kept = text::load_tokenizer(run.path());
    expect_same(options.given, *kept);
    if (options.size > 0 && kept->size() != options.size) {
      fail_usage("--vocab-size {}: this run was begun with a vocabulary of {} pieces; give another --run to begin anew", options.size, kept->size());
    }
    return kept;
  }
  if (options.given.empty() && options.size == 0 && init_from.empty()) fail_usage("give --vocab PATH, --vocab-size N or --init-from MODEL");
  if (options.size > 0) {
    remove_tokenizer(run);
    train_tokenizer(options, text, run, threads);
    return text::load_tokenizer(run.path());
  }
  const std::string path = !options.given.empty() ? options.given : io::find_model(init_from).directory;
  const auto tokenizer = text::load_tokenizer(path);
  if (lies_in(path, run)) return tokenizer;
  remove_tokenizer(run);
  text::copy_tokenizer(*tokenizer, run.path());
  return text::load_tokenizer(run.path());
}

std::string prepare_chat_template(const std::string& name, const io::RunDir& run) {
  const std::string kept = run.file(io::kChatTemplateFile);
  const std::vector<std::string> names = text::chat_template_names();
  const bool is_name = std::find(names.begin(), names.end(), name) != names.end();
  if (!run.linked("last").empty() && !is_name && fs::exists(kept)) {
    if (!fs::exists(name)) {
      log::warn("{} is gone; the run goes on with its own copy, {}", name, kept);
    } else if (io::read_file(name) != io::read_file(kept)) {
      fail_usage("{} is another template than {}, which this run was begun with", name, kept);
    }
    return kept;
  }
  if (is_name) {
    remove_files(run, {io::kChatTemplateFile});
    return name;
  }
  if (!fs::exists(name)) return name;  // make_chat_template says what it could be
  io::write_file(kept, io::read_file(name));
  return kept;
}

}  // namespace seqmill::train
