#include "train/translation_task.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "model/torch_translation.h"
#include "text/parallel_reader.h"
#include "train/corpus_task.h"

namespace seqmill::train {
namespace {

constexpr int64_t kLongestValid = 1024;  ///< tokens, unless --max-length is more

void report(const std::string& what, const data::CorpusCounts& counts) {
  log::info("{}: {} of {} pairs, {} source and {} target tokens; left out: {} empty, {} too long, {} by length ratio", what,
            counts.kept, counts.lines, counts.source_tokens, counts.target_tokens, counts.empty, counts.too_long, counts.ratio);
}

class TranslationTask final : public CorpusTask<model::Seq2Seq, data::Batch> {
 public:
  TranslationTask(model::Seq2Seq& model, const ModelCopier& copy, const infer::Vocabularies& vocabularies, const TranslationTaskOptions& options,
                  const std::string& cache, int threads, uint64_t seed, CorpusScorer scorer, Ranks& ranks)
      : CorpusTask(model, copy), vocabularies_(vocabularies), options_(options), threads_(threads), seed_(seed), scorer_(std::move(scorer)) {
    check_options();
    const std::string train = cache + "/train.tokens", valid = cache + "/valid.tokens";
    ranks.first_then_others([&] { load_all(train, valid, cache); },
                            [&] {
                              train_ = std::make_shared<data::ParallelCorpus>(train);
                              valid_ = std::make_shared<data::ParallelCorpus>(valid);
                            });
    ranks.expect_same("corpus", fmt::format("{} pairs, {}; validation {:016x}", train_->size(), order_key(), valid_->shape()));
    begin(ranks.count());
  }

  Scores validate(Ranks& ranks) override {
    data::BatchOrder order;
    order.batch_tokens = options_.batch_tokens;
    order.shuffle = false;
    const Validation validation = validate_on(data::plan_batches(valid_->size(), lengths_of(*valid_), order, 0), ranks,
                                              maker_of(valid_), [this](const data::Batch& batch) { return model_.loss(batch, 0, nullptr).nll_sum; });
    Scores scores{{"loss", validation.loss()}, {"ppl", std::exp(validation.loss())}};
    for (const auto& score : validation.attention()) scores.push_back(score);
    // A model that has diverged cannot be decoded with, and its loss says so already.
    if (options_.valid_bleu) scores.emplace_back("bleu", std::isfinite(validation.loss()) ? bleu(ranks) : 0.0);
    return scores;
  }

 protected:
  StepLoss loss(const model::Seq2Seq& model, const data::Batch& batch, tensor::DropoutStream& dropout) const override {
    const loss::TokenLoss loss = model.loss(batch, options_.label_smoothing, &dropout);
    return {loss.sum, loss.nll_sum, batch.target_tokens(), batch.source_tokens()};
  }

 private:
  void load_all(const std::string& train, const std::string& valid, const std::string& cache) {
    std::filesystem::create_directories(cache);
    // What a killed session was writing; the run is ours, so nobody else is at it.
    data::remove_unfinished_token_files(cache);
    train_ = load(options_.train_source, options_.train_target, options_.max_length, options_.max_ratio, train);
    report("training data", train_->counts());
    // Validation sees every pair it can: left out are empty ones, what the model has no positions for, and what no memory would hold.
    valid_ = load(options_.valid_source, options_.valid_target,
                  std::min(std::max(options_.max_length, kLongestValid), model_.max_positions() - 1), 0, valid);
    report("validation data", valid_->counts());
  }

  void check_options() const {
    for (const std::string* file : {&options_.train_source, &options_.train_target, &options_.valid_source, &options_.valid_target}) {
      if (*file == "-") fail_usage("training and validation text is read more than once and cannot be standard input ('-')");
    }
    if (options_.max_length + 1 > model_.max_positions()) {
      fail_usage("--max-length {} and an end symbol are more than the {} positions of the model (model.max-positions)",
                 options_.max_length, model_.max_positions());
    }
  }

  /// What the order of the batches depends on.
  std::string order_key() const {
    return fmt::format("seed {}, batch-tokens {}, bucket-batches {}, lengths {:016x}", seed_, options_.batch_tokens,
                       options_.bucket_batches, train_->shape());
  }

  std::shared_ptr<data::ParallelCorpus> load(const std::string& source, const std::string& target, int64_t max_length,
                                             double max_ratio, const std::string& cache) const {
    return std::make_shared<data::ParallelCorpus>(source, target, *vocabularies_.source, *vocabularies_.target,
                                                  data::CorpusLimits{max_length, max_ratio}, cache);
  }

  static std::function<std::pair<int64_t, int64_t>(int64_t)> lengths_of(const data::ParallelCorpus& corpus) {
    return [&corpus](int64_t pair) { return std::make_pair(corpus.source_length(pair), corpus.target_length(pair)); };
  }

  void begin(int64_t stride) {
    split_batches(options_.batch_tokens, options_.part_tokens, std::numeric_limits<int64_t>::max());
    data::BatchOrder order;
    order.batch_tokens = options_.batch_tokens;
    order.bucket_batches = options_.bucket_batches;
    order.seed = seed_;
    const auto plan = [corpus = train_, order](int64_t epoch) { return data::plan_batches(corpus->size(), lengths_of(*corpus), order, epoch); };
    const auto make = [corpus = train_, make = maker_of(train_), parts = parts()](const std::vector<int64_t>& pairs) {
      std::vector<data::Batch> batches;
      for (const std::vector<int64_t>& part : data::deal(pairs, lengths_of(*corpus), parts)) batches.push_back(make(part));
      return batches;
    };
    begin_walk({plan, make, "pairs", train_->size(), order_key(), "--batch-tokens or --bucket-batches"}, stride);
  }

  using Corpus = std::shared_ptr<const data::ParallelCorpus>;

  /// What makes batches of pairs of a corpus.
  std::function<data::Batch(const std::vector<int64_t>&)> maker_of(const Corpus& corpus) const {
    const infer::Vocabularies vocabularies = vocabularies_;
    return [corpus, vocabularies, device = model_.output_layer().weight.device()](const std::vector<int64_t>& pairs) {
      std::vector<data::Tokens> sources, targets;
      for (const int64_t pair : pairs) {
        sources.push_back(corpus->source(pair));
        targets.push_back(corpus->target(pair));
      }
      data::Batch batch = data::make_batch(sources, targets, vocabularies.source->eos(), vocabularies.target->bos(), vocabularies.target->eos());
      batch.to(device);
      return batch;
    };
  }

  /// Every rank translates a stretch of the lines; all score the whole.
  double bleu(Ranks& ranks) {
    if (references_.empty()) {
      text::ParallelReader reader(options_.valid_source, options_.valid_target);
      std::string source, target;
      while (reader.next(source, target)) {
        sources_.push_back(source);
        references_.push_back(target);
      }
    }
    const model::TorchTranslation view(model_);
    infer::Translator translator({&view}, vocabularies_, options_.valid_search, {}, threads_, seed_);
    const size_t count = static_cast<size_t>(ranks.count()), rank = static_cast<size_t>(ranks.rank());
    const size_t begin = sources_.size() * rank / count, end = sources_.size() * (rank + 1) / count;
    const auto line = [this](size_t number) { return sources_.begin() + static_cast<std::ptrdiff_t>(number); };
    std::string mine;
    for (const auto& translations : translator.translate({line(begin), line(end)})) {
      mine += (translations.empty() ? "" : translations[0].text) + "\n";
    }
    std::string all;
    for (const std::string& part : ranks.gather_text(mine)) all += part;
    std::vector<std::string> hypotheses = split(all, '\n');
    hypotheses.pop_back();  // what follows the last line
    return scorer_(hypotheses, references_);
  }

  const infer::Vocabularies& vocabularies_;
  TranslationTaskOptions options_;
  int threads_;
  uint64_t seed_;
  CorpusScorer scorer_;
  Corpus train_, valid_;
  std::vector<std::string> sources_, references_;
};

}  // namespace

void TranslationTaskOptions::declare(Options& options) {
  options.group("Data");
  options.add("train-src", train_source, "Training source text, plain or .gz; a TSV of both sides without --train-tgt")
      .placeholder("FILE")
      .required();
  options.add("train-tgt", train_target, "Training target text, line by line the translation").placeholder("FILE");
  options.add("valid-src", valid_source, "Validation source text").placeholder("FILE").required();
  options.add("valid-tgt", valid_target, "Validation target text").placeholder("FILE");
  options.add("batch-tokens", batch_tokens, "Tokens per batch on its longer side, end symbols included").range(1);
  options.add("part-tokens", part_tokens, "A batch is worked on in parts of about this many tokens at the same time (CPU)").range(1);
  options.add("bucket-batches", bucket_batches, "Pairs are sorted by length within windows of this many batches").range(1);
  options.add("max-length", max_length, "Leave out training pairs with a side of more tokens").range(1);
  options.add("max-length-ratio", max_ratio, "Leave out training pairs one side of which is longer by this factor; 0: keep")
      .range(0);
  options.add("label-smoothing", label_smoothing, "Probability spread evenly over the vocabulary").range(0, 0.99);
  options.add("valid-bleu", valid_bleu, "Validate by BLEU of a beam search too");
  options.add("valid-beam", valid_search.beam, "Beam of that search").range(1);
}

std::unique_ptr<Task> make_translation_task(model::Seq2Seq& model, const ModelCopier& copy, const infer::Vocabularies& vocabularies,
                                            const TranslationTaskOptions& options, const std::string& cache, int threads,
                                            uint64_t seed, CorpusScorer scorer, Ranks& ranks) {
  return std::make_unique<TranslationTask>(model, copy, vocabularies, options, cache, threads, seed, std::move(scorer), ranks);
}

}  // namespace seqmill::train
