#include "infer/score_stream.h"

#include <chrono>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "infer/lm_scorer.h"
#include "infer/prompts.h"
#include "io/output.h"
#include "text/plain_text.h"
#include "text/records.h"

namespace seqmill::infer {
namespace {

double seconds_since(std::chrono::steady_clock::time_point started) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

/// The answers of a record, as the field that holds them has them.
enum class Answers { kOne, kList, kHypotheses };

struct Pending {
  std::string place;  // for messages
  text::ScoringRecord record;
  Answers answers = Answers::kOne;
  size_t first = 0, count = 0;  // its sequences
};

/// {prompt, response}, {prompt, responses}, or what lm-generate writes.
Pending read_pending(text::Record record) {
  Pending pending;
  pending.place = record.place;
  const io::Json* hypotheses = record.json.find("hypotheses");
  if (!hypotheses || record.json.find("response") || record.json.find("responses")) {
    pending.record = text::read_scoring(std::move(record), text::EmptyPrompts::kRefuse);
    pending.answers = pending.record.is_list ? Answers::kList : Answers::kOne;
    return pending;
  }
  pending.answers = Answers::kHypotheses;
  if (!hypotheses->is_array()) fail("{}: \"hypotheses\" is {}, expected a list", record.place, hypotheses->type_name());
  for (const io::Json& hypothesis : hypotheses->as_array()) {
    const io::Json* text = hypothesis.is_object() ? hypothesis.find("text") : nullptr;
    if (!text || !text->is_string()) fail("{}: \"hypotheses\": expected objects with a string \"text\"", record.place);
    pending.record.responses.push_back(text->as_string());
  }
  text::PromptRecord prompt = text::read_prompt(std::move(record), text::EmptyPrompts::kRefuse);
  pending.record.id = std::move(prompt.id);
  pending.record.messages = std::move(prompt.messages);
  pending.record.json = std::move(prompt.json);
  return pending;
}

/// Calls `work`; its Error gets the record's place in front.
template <typename Work>
auto about(const Pending& pending, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    fail("{}: {}", pending.place, error.what());
  }
}

class ScoreStream {
 public:
  ScoreStream(const LoadedLanguageModel& model, const text::ChatTemplate& chat, const ScoreStreamOptions& options, int threads)
      : model_(model), chat_(chat), options_(options), threads_(threads), reader_(options.input), output_(options.output) {}

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
    try {
      text::Record record;
      if (!reader_.next(record)) return false;
      Pending pending = read_pending(std::move(record));
      std::vector<ScoredSequence> sequences = about(pending, [&] { return sequences_of(pending.record); });
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

  std::vector<ScoredSequence> sequences_of(const text::ScoringRecord& record) {
    std::vector<ScoredSequence> sequences;
    for (const std::string& response : record.responses) {
      sequences.push_back(sequence_of(chat_, record.messages, response, options_.end));
      fit(sequences.back());
    }
    return sequences;
  }

  // The last token is only predicted: it needs no position.
  void fit(ScoredSequence& sequence) {
    const int64_t size = static_cast<int64_t>(sequence.tokens.size()), answer = size - sequence.first, most = model_.model->max_positions() + 1;
    if (size <= most) return;
    if (options_.truncate != "left" || answer >= most) {
      fail("prompt and response have {} and {} tokens, the model positions for {} together{}", sequence.first, answer, most,
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
      about(pending, [&] { put_scores(pending, scores); });
      output_.write(pending.record.json.dump() + "\n");
      responses_ += static_cast<int64_t>(pending.count);
    }
    output_.flush();
    records_ += static_cast<int64_t>(pending_.size());
    scored_ += tokens_;
    tokens_ = 0;
    pending_.clear();
    sequences_.clear();
    if (options_.progress) log::status_line(fmt::format("{} records, {:.0f} tokens a second", records_, static_cast<double>(scored_) / seconds_since(started_)));
  }

  void put_scores(Pending& pending, const std::vector<std::vector<double>>& scores) const {
    io::Json& record = pending.record.json;
    io::Json list = io::Json::array();
    for (size_t i = 0; i < pending.count; ++i) list.push_back(score_of(scores[pending.first + i]));
    if (pending.answers == Answers::kHypotheses) return put_in_hypotheses(record, list.as_array());
    record.set("scores", pending.answers == Answers::kOne ? std::move(list.as_array()[0]) : std::move(list));
  }

  io::Json score_of(const std::vector<double>& logprobs) const {
    const double sum = std::accumulate(logprobs.begin(), logprobs.end(), 0.0);
    if (std::isnan(sum)) fail("the model gives a log-probability that is not a number: it has diverged or is broken");
    io::Json score = io::Json::object();
    score.set("logprob", sum);
    score.set("mean", logprobs.empty() ? 0.0 : sum / static_cast<double>(logprobs.size()));
    score.set("tokens", static_cast<int64_t>(logprobs.size()));
    if (options_.per_token) score.set("logprobs", io::Json::list(logprobs));
    return score;
  }

  // The scores of a hypothesis are numbers by name.
  static void put_in_hypotheses(io::Json& record, const io::JsonArray& scores) {
    io::Json hypotheses = record.at("hypotheses");
    for (size_t i = 0; i < scores.size(); ++i) {
      io::Json& hypothesis = hypotheses.as_array()[i];
      const io::Json* before = hypothesis.find("scores");
      io::Json named = before && before->is_object() ? *before : io::Json::object();
      named.set("lm-logprob", scores[i].at("logprob"));
      named.set("lm-mean", scores[i].at("mean"));
      named.set("lm-tokens", scores[i].at("tokens"));
      hypothesis.set("scores", std::move(named));
      if (const io::Json* logprobs = scores[i].find("logprobs")) hypothesis.set("lm-logprobs", *logprobs);
    }
    record.set("hypotheses", std::move(hypotheses));
  }

  const LoadedLanguageModel& model_;
  const text::ChatTemplate& chat_;
  const ScoreStreamOptions& options_;
  const int threads_;
  text::RecordReader reader_;
  io::Output output_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
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
    begin();
    bool begins = true;
    for (std::string chunk; reader.next(chunk); begins = false) add(chunk, begins);
    end();
  }

  void read_documents(const std::string& path, const std::string& field) {
    constexpr int64_t kLongestDocument = int64_t{1} << 26;  // bytes
    io::LineReader reader(path, {kLongestDocument, false});
    for (std::string line; reader.next(line);) {
      const std::string where = fmt::format("{}:{}", reader.name(), reader.line_number());
      const io::Json record = io::parse_json(line, where);
      const io::Json* document = record.is_object() ? record.find(field) : nullptr;
      if (!document || !document->is_string()) fail("{}: expected an object with the text of a document in \"{}\"", where, field);
      if (document->as_string().empty()) continue;
      begin();
      add(document->as_string(), true);
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
  options.add("input", input, "Records, or with --perplexity a text; -: standard input").placeholder("FILE");
  options.add("output", output, "Where scores go; -: standard output").placeholder("FILE");
  options.group("Scores of records");
  options.add("per-token", per_token, "Also the log-probability of every token");
  options.add("end", end, "Count the token that ends a response");
  options.add("truncate", truncate, "Prompts too long for the model: an error, or cut on the left").one_of({"none", "left"});
  options.add("skip-bad", skip_bad, "Leave bad records out, and count them, instead of stopping");
  options.add("stream", stream, "Answer whenever no further record is waiting");
  options.add("batch-tokens", batch_tokens, "Tokens that a worker computes together; changes speed and memory, not the result").range(1);
  options.group("Perplexity");
  options.add("perplexity", perplexity, "Print the perplexity of a text instead");
  options.add("format", format, "Plain text, or JSON lines with a document each").one_of({"text", "jsonl"});
  options.add("text-field", text_field, "The field of a JSON line that holds the document");
  options.add("window", window, "Tokens that the model sees at a time; 0: as many as it has positions for").range(0);
  options.add("stride", stride, "Tokens between the beginnings of windows; 0: those of a window").range(0);
  options.add("json", json, "Print perplexities as a JSON object; scores of records are JSON anyway");
}

void ScoreStreamOptions::check() const {
  if (perplexity) {
    if (per_token) fail_usage("--per-token has no effect with --perplexity");
    if (!end) fail_usage("--no-end has no effect with --perplexity");
    if (truncate != "none") fail_usage("--truncate has no effect with --perplexity");
    if (skip_bad) fail_usage("--skip-bad has no effect with --perplexity");
    if (stream) fail_usage("--stream has no effect with --perplexity");
    return;
  }
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
  io::Output output(options.output);
  TextTokens text(*model.tokenizer);
  if (options.format == "text") text.read_plain(options.input);
  else text.read_documents(options.input, options.text_field);
  if (text.bytes() == 0) fail("{}: there is no text", options.input == "-" ? "standard input" : options.input);
  const auto started = std::chrono::steady_clock::now();
  double shown = 0;
  const auto show = [&](int64_t tokens) {
    const double now = seconds_since(started);
    if (!options.progress || now - shown < 0.5) return;
    shown = now;
    log::status_line(fmt::format("{} of {} tokens, {:.0f} a second", tokens, text.tokens().size(), static_cast<double>(tokens) / now));
  };
  Perplexity result =
      score_text(*model.model, text.tokens(), window, options.stride == 0 ? window : options.stride, options.batch_tokens, threads, show);
  result.words = text.words();
  result.bytes = text.bytes();
  log::status_line("");
  output.write(options.json ? as_json(result) : as_text(result));
  output.close();
  const double time = seconds_since(started);
  log::info("{} tokens in {:.2f} s: {:.1f} tokens/s", result.tokens, time, static_cast<double>(result.tokens) / time);
}

}  // namespace seqmill::infer
