#include "infer/score_stream.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/strings.h"
#include "infer/answer_records.h"
#include "infer/lm_scorer.h"
#include "infer/prompts.h"
#include "io/output.h"
#include "text/plain_text.h"
#include "text/record_fields.h"

namespace seqmill::infer {
namespace {

double seconds_since(std::chrono::steady_clock::time_point started) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

struct Pending : AnswerRecord {
  size_t first = 0, count = 0;  // its sequences
};

/// What names a score: its own name behind what the user wants before it.
class ScoreNames {
 public:
  ScoreNames(const std::string& name, Answers answers) : before_(!name.empty() ? name + "-" : answers == Answers::kHypotheses ? "lm-" : "") {}
  std::string operator()(const char* score) const { return before_ + score; }

  /// Throws Error when `holder` has scores already of the names that are to come.
  void check(const io::Json* scores, const std::string& whose) const {
    if (!scores || scores->is_null()) return;
    if (!scores->is_object()) fail("{}\"scores\" is {}, expected an object", whose, scores->type_name());
    for (const char* score : {"logprob", "mean", "tokens", "logprobs"}) {
      const std::string name = (*this)(score);
      if (scores->find(name)) fail("{}\"scores\" has a \"{}\" already; --name gives the new ones another name", whose, name);
    }
  }

 private:
  std::string before_;
};

class ScoreStream {
 public:
  ScoreStream(const LoadedLanguageModel& model, const text::ChatTemplate& chat, const ScoreStreamOptions& options, int threads)
      : model_(model), chat_(chat), options_(options), threads_(threads), reader_(options.inputs.at(0)), output_(options.output) {}

  void run() {
    constexpr int64_t kTurns = 4;  // of each worker, before all wait for the last one
    while (add()) {
      if (tokens_ >= kTurns * options_.batch_tokens * threads_ || (options_.stream && reader_.would_block())) answer();
    }
    answer();
    output_.close();
    log::status_line("");
    const double time = seconds_since(started_);
    log::info("{} responses of {} records, {} tokens in {:.2f} s: {:.1f} tokens/s", responses_, records_, scored_, time, static_cast<double>(scored_) / time);
    if (truncations_ > 0) log::warn("{} prompts were too long and lost their first tokens (--truncate left)", truncations_);
    if (skipped_ > 0) log::warn("{} bad records were left out (--skip-bad)", skipped_);
  }

 private:
  bool add() {
    text::wait_for_input(reader_);
    try {
      text::Record record;
      if (!reader_.next(record)) return false;
      Pending pending{read_answers(std::move(record))};
      std::vector<ScoredSequence> sequences = text::within(pending.place, [&] {
        check_scores(pending);
        return sequences_of(pending);
      });
      pending.first = sequences_.size();
      pending.count = sequences.size();
      for (ScoredSequence& sequence : sequences) {
        tokens_ += static_cast<int64_t>(sequence.tokens.size());
        sequences_.push_back(std::move(sequence));
      }
      pending_.push_back(std::move(pending));
    } catch (const Error& error) {
      if (!options_.skip_bad) throw;
      log::warn("left out: {}", error.what());
      ++skipped_;
    }
    return true;
  }

  std::vector<ScoredSequence> sequences_of(const Pending& pending) {
    const text::ScoringRecord& record = pending.record;
    std::vector<ScoredSequence> sequences;
    for (size_t i = 0; i < record.responses.size(); ++i) {
      sequences.push_back(sequence_of(chat_, record.messages, record.responses[i], options_.end && pending.ended[i]));
      fit(sequences.back(), name_of_answer(pending.answers, i));
    }
    return sequences;
  }

  // Scores that are there stay, and none is replaced.
  void check_scores(const Pending& pending) const {
    const ScoreNames names(options_.name, pending.answers);
    const io::Json* scores = pending.record.json.find("scores");
    if (pending.answers == Answers::kOne) return names.check(scores, "");
    if (pending.answers == Answers::kHypotheses) {
      const io::JsonArray& hypotheses = pending.record.json.at("hypotheses").as_array();
      for (size_t i = 0; i < hypotheses.size(); ++i) {
        names.check(hypotheses[i].find("scores"), name_of_answer(pending.answers, i));
        const std::string list = names("logprobs");
        if (options_.per_token && hypotheses[i].find(list)) {
          fail("{}it has \"{}\" already; --name gives the new ones another name", name_of_answer(pending.answers, i), list);
        }
      }
      return;
    }
    if (!scores || scores->is_null()) return;
    if (!scores->is_array()) fail("\"scores\" is {}, expected a list of objects, one for each response", scores->type_name());
    const size_t found = scores->as_array().size(), expected = pending.record.responses.size();
    if (found != expected) fail("\"scores\" has {} entries, expected {}, one for each response", found, expected);
    for (size_t i = 0; i < expected; ++i) names.check(&scores->as_array()[i], name_of_answer(pending.answers, i));
  }

  // The last token is only predicted: it needs no position.
  void fit(ScoredSequence& sequence, const std::string& whose) {
    const int64_t size = static_cast<int64_t>(sequence.tokens.size()), answer = size - sequence.first, most = model_.model->max_positions() + 1;
    if (size <= most) return;
    if (options_.truncate != "left" || answer >= most) {
      fail("{}prompt and response have {} and {} tokens, the model positions for {} together{}", whose, sequence.first, answer, most,
           answer >= most ? "" : "; --truncate left keeps the last tokens of the prompt");
    }
    Tokens prompt(sequence.tokens.begin(), sequence.tokens.begin() + sequence.first);
    cut_left(prompt, most - answer, model_.tokenizer->bos());
    sequence.tokens.erase(sequence.tokens.begin(), sequence.tokens.begin() + sequence.first);
    sequence.first = static_cast<int64_t>(prompt.size());
    sequence.tokens.insert(sequence.tokens.begin(), prompt.begin(), prompt.end());
    ++truncations_;
  }

  void answer() {
    const auto scores = score_answers(*model_.model, sequences_, options_.batch_tokens, threads_);
    for (Pending& pending : pending_) {
      text::within(pending.place, [&] { put_scores(pending, scores); });
      output_.write(pending.record.json.dump() + "\n");
      responses_ += static_cast<int64_t>(pending.count);
    }
    output_.flush();
    records_ += static_cast<int64_t>(pending_.size());
    scored_ += tokens_;
    tokens_ = 0;
    pending_.clear();
    sequences_.clear();
    const double now = seconds_since(started_);
    if (progress_.is_due(now)) progress_.show(fmt::format("{} records, {:.0f} tokens a second", records_, static_cast<double>(scored_) / now));
  }

  void put_scores(Pending& pending, const std::vector<std::vector<double>>& scores) const {
    io::Json& record = pending.record.json;
    const ScoreNames names(options_.name, pending.answers);
    if (pending.answers == Answers::kHypotheses) {
      io::JsonArray hypotheses = record.at("hypotheses").as_array();
      for (size_t i = 0; i < pending.count; ++i) {
        const std::vector<double>& logprobs = scores[pending.first + i];
        hypotheses[i].set("scores", with_scores(hypotheses[i].find("scores"), logprobs, names));
        // The scores of a hypothesis are numbers: the list stands beside them.
        if (options_.per_token) hypotheses[i].set(names("logprobs"), io::Json::list(logprobs));
      }
      record.set("hypotheses", std::move(hypotheses));
      return;
    }
    const io::Json* before = record.find("scores");
    const bool is_list = pending.answers == Answers::kList;
    io::JsonArray list;
    for (size_t i = 0; i < pending.count; ++i) {
      const io::Json* old = before && before->is_array() ? &before->as_array()[i] : before;
      const std::vector<double>& logprobs = scores[pending.first + i];
      list.push_back(with_scores(old, logprobs, names));
      if (options_.per_token) list.back().set(names("logprobs"), io::Json::list(logprobs));
    }
    record.set("scores", is_list ? io::Json(std::move(list)) : std::move(list[0]));
  }

  /// Those that were there, and the new ones.
  static io::Json with_scores(const io::Json* before, const std::vector<double>& logprobs, const ScoreNames& names) {
    const double sum = std::accumulate(logprobs.begin(), logprobs.end(), 0.0);
    if (std::isnan(sum)) fail("the model gives a log-probability that is not a number: it has diverged or is broken");
    io::Json scores = before && before->is_object() ? *before : io::Json::object();
    scores.set(names("logprob"), sum);
    scores.set(names("mean"), logprobs.empty() ? 0.0 : sum / static_cast<double>(logprobs.size()));
    scores.set(names("tokens"), static_cast<int64_t>(logprobs.size()));
    return scores;
  }

  const LoadedLanguageModel& model_;
  const text::ChatTemplate& chat_;
  const ScoreStreamOptions& options_;
  const int threads_;
  text::RecordReader reader_;
  io::Output output_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  Progress progress_{options_.progress};
  std::vector<Pending> pending_;
  std::vector<ScoredSequence> sequences_;
  int64_t tokens_ = 0;  // of these
  int64_t records_ = 0, responses_ = 0, scored_ = 0, truncations_ = 0, skipped_ = 0;
};

/// A text by its tokens.
class TextTokens {
 public:
  explicit TextTokens(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void read_plain(const std::string& path) {
    text::PlainReader reader(path);
    bool begins = true;
    for (std::string chunk; reader.next(chunk); begins = false) {
      if (begins) begin();
      add(chunk, begins);
    }
    if (!begins) end();
  }

  void read_documents(const std::string& path, const std::string& field) {
    io::LineReader reader(path, text::document_limits());
    for (std::string line; reader.next(line);) {
      const std::string document = text::document_of(line, fmt::format("{}:{}", reader.name(), reader.line_number()), field);
      if (document.empty()) continue;
      begin();
      add(document, true);
      end();
    }
  }

  const Tokens& tokens() const { return tokens_; }
  int64_t words() const { return words_; }
  int64_t bytes() const { return bytes_; }

 private:
  void begin() {
    if (tokenizer_.bos() >= 0) tokens_.push_back(tokenizer_.bos());
  }
  void end() { tokens_.push_back(tokenizer_.eos()); }
  void add(const std::string& chunk, bool begins) {
    const std::vector<int32_t> ids = text::encode_chunk(tokenizer_, chunk, begins);
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    words_ += text::count_words(chunk);
    bytes_ += static_cast<int64_t>(chunk.size());
  }

  const text::Tokenizer& tokenizer_;
  Tokens tokens_;
  int64_t words_ = 0, bytes_ = 0;
};

std::string as_json(const Perplexity& result) {
  io::Json json = io::Json::object();
  json.set("tokens", result.tokens);
  json.set("words", result.words);
  json.set("bytes", result.bytes);
  json.set("nll", result.nll);
  json.set("ppl", result.per_token());
  json.set("word-ppl", result.per_word());
  json.set("byte-ppl", result.per_byte());
  json.set("bits-per-byte", result.bits_per_byte());
  return json.dump() + "\n";
}

void warn_about_limits(const Perplexity& result) {
  for (const auto& [name, value] : {std::pair("token", result.per_token()), std::pair("word", result.per_word()), std::pair("byte", result.per_byte())}) {
    if (std::isinf(value)) log::warn("the perplexity per {} is more than a number holds: infinite, null in JSON; nll is what it follows from", name);
  }
}

std::string as_text(const Perplexity& result) {
  return fmt::format(
      "perplexity  {:.4f} per token ({} tokens)\n"
      "            {:.4f} per word ({} words, line ends counted)\n"
      "            {:.4f} per byte ({} bytes), {:.4f} bits\n"
      "nll         {:.4f}\n",
      result.per_token(), result.tokens, result.per_word(), result.words, result.per_byte(), result.bytes, result.bits_per_byte(), result.nll);
}

}  // namespace

void ScoreStreamOptions::declare(Options& options) {
  options.group("Input and output");
  options.add("input", inputs, "Records, or with --perplexity a text, of several files if there are several; -: standard input").placeholder("FILE");
  options.add("output", output, "Where scores go; -: standard output").placeholder("FILE");
  options.group("Scores of records");
  options.add("per-token", per_token, "Also the log-probability of every token");
  options.add("end", end, "counting the token that ends a response");
  options.add("name", name, "Call scores NAME-logprob and so on; default: lm-logprob for hypotheses, logprob for responses").placeholder("NAME");
  options.add("truncate", truncate, "Prompts too long for the model: an error, or cut on the left").one_of({"none", "left"});
  options.add("skip-bad", skip_bad, "Leave bad records out, and count them, instead of stopping");
  options.add("stream", stream, "Answer whenever no further record is waiting");
  options.add("batch-tokens", batch_tokens, "Tokens that a worker computes together; changes speed and memory, not the result").range(1, int64_t{1} << 31);
  options.group("Perplexity");
  options.add("perplexity", perplexity, "Print the perplexity of a text instead");
  options.add("format", format, "Plain text, or JSON lines with a document each").one_of({"text", "jsonl"});
  options.add("text-field", text_field, "The field of a JSON line that holds the document");
  options.add("window", window, "Tokens that the model sees at a time; 0: as many as it has positions for").range(0, int64_t{1} << 31);
  options.add("stride", stride, "Tokens between the beginnings of windows; 0: those of a window").range(0, int64_t{1} << 31);
  options.add("json", json, "Print perplexities as a JSON object; scores of records are JSON anyway");
}

void ScoreStreamOptions::check() const {
  if (perplexity) {
    if (per_token) fail_usage("--per-token has no effect with --perplexity");
    if (!end) fail_usage("--no-end has no effect with --perplexity");
    if (truncate != "none") fail_usage("--truncate has no effect with --perplexity");
    if (skip_bad) fail_usage("--skip-bad has no effect with --perplexity");
    if (stream) fail_usage("--stream has no effect with --perplexity");
    if (!name.empty()) fail_usage("--name has no effect with --perplexity");
    if (std::count(inputs.begin(), inputs.end(), "-") > 1) fail_usage("--input - twice: standard input can be read once");
    return;
  }
  if (inputs.size() > 1) fail_usage("--input takes several files with --perplexity only");
  if (format != "text") fail_usage("--format has no effect without --perplexity: records are JSON lines");
  if (text_field != "text") fail_usage("--text-field has no effect without --perplexity");
  if (window != 0) fail_usage("--window has no effect without --perplexity");
  if (stride != 0) fail_usage("--stride has no effect without --perplexity");
}

void score_stream(const LoadedLanguageModel& model, const text::ChatTemplate& chat, const ScoreStreamOptions& options, int threads) {
  ScoreStream(model, chat, options, threads).run();
}

void perplexity_stream(const LoadedLanguageModel& model, const ScoreStreamOptions& options, int threads) {
  const int64_t positions = model.model->max_positions(), window = options.window == 0 ? positions : options.window;
  if (window > positions) fail_usage("--window {} is more than the {} positions of the model", window, positions);
  TextTokens text(*model.tokenizer);
  for (const std::string& input : options.inputs) {
    if (options.format == "text") text.read_plain(input);
    else text.read_documents(input, options.text_field);
  }
  if (text.bytes() == 0) fail("{}: there is no text", options.inputs == std::vector<std::string>{"-"} ? "standard input" : join(options.inputs, ", "));
  // From here on nothing waits for input that a signal should end.
  catch_end_signals();
  io::Output output(options.output);
  const auto started = std::chrono::steady_clock::now();
  Progress progress(options.progress);
  const auto show = [&](int64_t tokens) {
    const double now = seconds_since(started);
    if (progress.is_due(now)) progress.show(fmt::format("{} of {} tokens, {:.0f} a second", tokens, text.tokens().size(), static_cast<double>(tokens) / now));
  };
  Perplexity result =
      score_text(*model.model, text.tokens(), window, options.stride == 0 ? window : options.stride, options.batch_tokens, threads, show);
  result.words = text.words();
  result.bytes = text.bytes();
  log::status_line("");
  output.write(options.json ? as_json(result) : as_text(result));
  output.close();
  warn_about_limits(result);
  const double time = seconds_since(started);
  log::info("{} tokens in {:.2f} s: {:.1f} tokens/s", result.tokens, time, static_cast<double>(result.tokens) / time);
}

}  // namespace seqmill::infer
