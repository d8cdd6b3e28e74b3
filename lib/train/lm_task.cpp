#include "train/lm_task.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/memory.h"
#include "base/log.h"
#include "data/chat_corpus.h"
#include "data/lm_batches.h"
#include "data/lm_corpus.h"
#include "infer/windows.h"
#include "io/directory.h"
#include "train/corpus_task.h"

namespace seqmill::train {
namespace {

constexpr int64_t kUsualWindow = 512;

/// Text of one format, tokenised.
class LmData {
 public:
  virtual ~LmData() = default;
  virtual int64_t size() const = 0;  ///< in units
  virtual const char* unit() const = 0;
  virtual uint64_t shape() const = 0;
  virtual void report(const std::string& what) const = 0;
  virtual data::BatchPlan plan(const data::BatchOrder& order, int64_t epoch) const = 0;
  /// The same items in lists of about the same number of tokens.
  virtual data::BatchPlan deal(const std::vector<int64_t>& items, int64_t parts) const = 0;
  virtual data::LmBatch batch(const std::vector<int64_t>& items) const = 0;
  /// No batch of so many tokens has more parts that are worth a worker.
  virtual int64_t most_parts([[maybe_unused]] int64_t batch_tokens) const { return std::numeric_limits<int64_t>::max(); }
  /// Every token once, the same each time.
  virtual data::BatchPlan validation_plan(int64_t batch_tokens) const = 0;
  /// Of a validation in which `targets` tokens had the probability exp(-nll).
  virtual Scores scores(double nll, double targets) const = 0;
};

class StreamData final : public LmData {
 public:
  StreamData(std::unique_ptr<data::StreamCorpus> corpus, int64_t window) : corpus_(std::move(corpus)), window_(window) {}

  int64_t size() const override { return corpus_->size(); }
  const char* unit() const override { return "tokens"; }
  uint64_t shape() const override { return corpus_->shape(); }

  void report(const std::string& what) const override {
    const data::StreamCounts& counts = corpus_->counts();
    if (counts.bad > 0) log::warn("{}: {} bad lines were left out (--skip-bad)", what, counts.bad);
    log::info("{}: {} tokens of {} documents ({} without text left out), {} words, {} bytes; windows of {} tokens", what, corpus_->size(), counts.documents,
              counts.empty, counts.words, counts.bytes, window_);
  }

  data::BatchPlan plan(const data::BatchOrder& order, int64_t epoch) const override { return data::plan_stream(size(), window_, order, epoch); }

  data::BatchPlan deal(const std::vector<int64_t>& items, int64_t parts) const override {
    const auto length = [this](int64_t begin) { return std::pair<int64_t, int64_t>(0, end_of(begin) - begin - 1); };
    return data::deal(items, length, parts);
  }

  data::LmBatch batch(const std::vector<int64_t>& items) const override {
    std::vector<data::Tokens> sequences;
    for (const int64_t begin : items) sequences.push_back(corpus_->slice(begin, end_of(begin)));
    return data::make_lm_batch(sequences);
  }

  int64_t most_parts(int64_t batch_tokens) const override { return std::max<int64_t>(1, batch_tokens / window_); }

  data::BatchPlan validation_plan(int64_t batch_tokens) const override {
    const auto together = static_cast<size_t>(std::max<int64_t>(1, batch_tokens / window_));
    data::BatchPlan plan;
    for (const infer::Window& window : infer::plan_windows(size(), window_, window_)) {
      if (plan.empty() || plan.back().size() == together) plan.emplace_back();
      plan.back().push_back(window.begin);
    }
    return plan;
  }

  Scores scores(double nll, double targets) const override {
    const auto words = static_cast<double>(corpus_->counts().words), bytes = static_cast<double>(corpus_->counts().bytes);
    return {{"loss", nll / targets}, {"ppl", std::exp(nll / targets)}, {"word-ppl", std::exp(nll / words)}, {"bits-per-byte", nll / std::log(2.0) / bytes}};
  }

 private:
  int64_t end_of(int64_t begin) const { return data::window_end(begin, window_, size()); }

  std::unique_ptr<data::StreamCorpus> corpus_;
  int64_t window_;
};

class ChatData final : public LmData {
 public:
  ChatData(std::unique_ptr<data::ChatCorpus> corpus, int64_t window) : corpus_(std::move(corpus)), window_(window) {}

  int64_t size() const override { return corpus_->size(); }
  const char* unit() const override { return "conversations"; }
  uint64_t shape() const override { return corpus_->shape(); }

  void report(const std::string& what) const override {
    const data::ChatCounts& counts = corpus_->counts();
    if (counts.bad > 0) log::warn("{}: {} bad records were left out (--skip-bad)", what, counts.bad);
    log::info("{}: {} of {} conversations, {} tokens, {} of them learned; more than {} tokens: {} cut on the left, {} with too long an answer left out", what,
              counts.kept, counts.records, counts.tokens, counts.learned, window_, counts.cut, counts.too_long);
  }

  data::BatchPlan plan(const data::BatchOrder& order, int64_t epoch) const override { return data::plan_batches(size(), lengths(), order, epoch); }

  data::BatchPlan deal(const std::vector<int64_t>& items, int64_t parts) const override { return data::deal(items, lengths(), parts); }

  data::LmBatch batch(const std::vector<int64_t>& items) const override {
    std::vector<text::ChatTokens> conversations;
    for (const int64_t number : items) conversations.push_back(corpus_->conversation(number));
    return data::make_lm_batch(conversations);
  }

  data::BatchPlan validation_plan(int64_t batch_tokens) const override {
    data::BatchOrder order;
    order.batch_tokens = batch_tokens;
    order.shuffle = false;
    return plan(order, 0);
  }

  Scores scores(double nll, double targets) const override { return {{"loss", nll / targets}, {"ppl", std::exp(nll / targets)}}; }

 private:
  /// As plan_batches counts: without the end symbol, which stands for the token that is predicted only.
  std::function<std::pair<int64_t, int64_t>(int64_t)> lengths() const {
    return [this](int64_t number) { return std::pair<int64_t, int64_t>(0, corpus_->length(number) - 2); };
  }

  std::unique_ptr<data::ChatCorpus> corpus_;
  int64_t window_;
};

class LmTask final : public CorpusTask<model::Lm, data::LmBatch> {
 public:
  LmTask(model::Lm& model, const LmCopier& copy, const text::Tokenizer& tokenizer, const text::ChatTemplate* frame, const LmTaskOptions& options,
         const std::string& cache, uint64_t seed, bool progress, Ranks& ranks)
      : CorpusTask(model, copy), tokenizer_(tokenizer), frame_(frame), options_(options), seed_(seed), progress_(progress) {
    check_options();
    const std::string train = cache + "/train.tokens", valid = cache + "/valid.tokens";
    ranks.first_then_others(
        [&] {
          io::make_directory(cache);
          // What a killed session was writing; the run is ours, so nobody else is at it.
          data::remove_unfinished_token_files(cache);
          train_ = load(options_.train, train);
          train_->report("training data");
          valid_ = load(options_.valid, valid);
          valid_->report("validation data");
        },
        [&] {
          train_ = load_shared(train);
          valid_ = load_shared(valid);
        });
    ranks.expect_same("corpus", fmt::format("{} {}, {}; validation {:016x}", train_->size(), train_->unit(), order_key(), valid_->shape()));
    begin(ranks.count());
  }

  Scores validate(Ranks& ranks) override {
    const Validation validation = validate_on(valid_->validation_plan(options_.batch_tokens), ranks, maker_of(valid_), [this](const data::LmBatch& batch) {
      return model_.loss(batch.input, batch.rows, batch.targets, 0, nullptr).nll_sum;
    });
    Scores scores = valid_->scores(validation.nll, validation.tokens);
    for (const auto& score : validation.attention()) scores.push_back(score);
    return scores;
  }

 protected:
  StepLoss loss(const model::Lm& model, const data::LmBatch& batch, tensor::DropoutStream& dropout) const override {
    const loss::TokenLoss loss = model.loss(batch.input, batch.rows, batch.targets, options_.label_smoothing, &dropout);
    return {loss.sum, loss.nll_sum, batch.target_tokens(), batch.input_tokens()};
  }

 private:
  void check_options() {
    if (options_.format != "jsonl" && options_.text_field != "text") fail_usage("--text-field belongs to --format jsonl");
    if (options_.format == "text" && options_.skip_bad) fail_usage("--skip-bad leaves out records; --format text has none");
    for (const std::vector<std::string>* files : {&options_.train, &options_.valid}) {
      if (std::find(files->begin(), files->end(), "-") != files->end()) {
        fail_usage("training and validation text is read more than once and cannot be standard input ('-')");
      }
    }
    if (options_.window == 0) options_.window = std::min(model_.max_positions(), kUsualWindow);
    if (options_.window > model_.max_positions()) {
      fail_usage("--window {}: the model has {} positions (model.max-positions)", options_.window, model_.max_positions());
    }
  }

  std::unique_ptr<LmData> load(const std::vector<std::string>& files, const std::string& cache) const {
    if (options_.format == "chat") {
      return std::make_unique<ChatData>(std::make_unique<data::ChatCorpus>(files, *frame_, tokenizer_, options_.window, cache, progress_, options_.skip_bad), options_.window);
    }
    const data::StreamFormat format{options_.format, options_.text_field, options_.skip_bad};
    return std::make_unique<StreamData>(std::make_unique<data::StreamCorpus>(files, format, tokenizer_, cache, progress_), options_.window);
  }

  std::unique_ptr<LmData> load_shared(const std::string& cache) const {
    if (options_.format == "chat") return std::make_unique<ChatData>(std::make_unique<data::ChatCorpus>(cache), options_.window);
    return std::make_unique<StreamData>(std::make_unique<data::StreamCorpus>(cache), options_.window);
  }

  /// What the order of the batches depends on.
  std::string order_key() const {
    return fmt::format("seed {}, window {}, batch-tokens {}, bucket-batches {}, lengths {:016x}", seed_, options_.window, options_.batch_tokens,
                       options_.bucket_batches, train_->shape());
  }

  void begin(int64_t stride) {
    split_batches(options_.batch_tokens, options_.part_tokens, train_->most_parts(options_.batch_tokens));
    data::BatchOrder order;
    order.batch_tokens = options_.batch_tokens;
    order.bucket_batches = options_.bucket_batches;
    order.seed = seed_;
    const auto plan = [data = train_, order](int64_t epoch) { return data->plan(order, epoch); };
    const auto make = [data = train_, make = maker_of(train_), parts = parts()](const std::vector<int64_t>& items) {
      std::vector<data::LmBatch> batches;
      for (const std::vector<int64_t>& part : data->deal(items, parts)) batches.push_back(make(part));
      return batches;
    };
    begin_walk({plan, make, train_->unit(), train_->size(), order_key(), "--window, --batch-tokens or --bucket-batches"}, stride);
  }

  /// What makes batches of items.
  std::function<data::LmBatch(const std::vector<int64_t>&)> maker_of(const std::shared_ptr<const LmData>& data) const {
    return [data, device = model_.output_layer().weight.device()](const std::vector<int64_t>& items) {
      data::LmBatch batch = data->batch(items);
      batch.to(device);
      return batch;
    };
  }

  const text::Tokenizer& tokenizer_;
  const text::ChatTemplate* frame_;
  LmTaskOptions options_;
  uint64_t seed_;
  bool progress_;
  std::shared_ptr<const LmData> train_, valid_;
};

}  // namespace

void LmTaskOptions::declare(Options& options) {
  options.group("Data");
  options.add("train", train, "Training text, plain or .gz; give it several times for several files").placeholder("FILE");
  options.add("valid", valid, "Validation text, likewise").placeholder("FILE");
  options.add("format", format, "text: as it is; jsonl: a document a line; chat: instructions and their answers, which alone are learned")
      .one_of({"text", "jsonl", "chat"});
  options.add("skip-bad", skip_bad, "jsonl, chat: leave bad records out, and count them, instead of stopping");
  options.add("text-field", text_field, "jsonl: the field that holds the document");
  options.add("window", window, "Tokens that the model sees at once; 0: model.max-positions, at most 512").range(0);
  options.add("batch-tokens", batch_tokens, "Tokens per batch").range(1);
  options.add("part-tokens", part_tokens, "A batch is worked on in parts of about this many tokens at the same time (CPU)").range(1);
  options.add("bucket-batches", bucket_batches, "chat: conversations are sorted by length within windows of this many batches").range(1);
  options.add("label-smoothing", label_smoothing, "Probability spread evenly over the vocabulary").range(0, 0.99);
}

std::unique_ptr<Task> make_lm_task(model::Lm& model, const LmCopier& copy, const text::Tokenizer& tokenizer, const text::ChatTemplate* frame,
                                   const LmTaskOptions& options, const std::string& cache, uint64_t seed, bool progress, Ranks& ranks) {
  return std::make_unique<LmTask>(model, copy, tokenizer, frame, options, cache, seed, progress, ranks);
}

void check_training_memory(const model::LmSize& size, bool averages, int64_t available) {
  const int64_t copies = 4 + (averages ? 1 : 0);  // the value, its gradient and two moments
  const int64_t needed = static_cast<int64_t>(sizeof(float)) * (copies * size.trained + size.fixed);
  if (needed <= available) return;
  fail("training {} parameters{} needs at least {} of memory for weights, gradients and moments, and {} are available; {}a smaller model needs less", size.trained,
       size.fixed > 0 ? fmt::format(" beside {} that stay", size.fixed) : "", format_bytes(needed), format_bytes(available),
       size.fixed > 0 ? "" : "--lora.rank trains adapters alone; ");
}

}  // namespace seqmill::train
