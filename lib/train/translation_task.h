#pragma once
// Training a translation model on a parallel corpus.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/batches.h"
#include "data/corpus.h"
#include "infer/translator.h"
#include "model/seq2seq.h"
#include "train/task.h"

namespace seqmill::train {

struct TranslationTaskOptions {
  std::string train_source, train_target, valid_source, valid_target;
  int64_t batch_tokens = 4096;
  int64_t part_tokens = 2048;    ///< a batch is worked on in parts of about this many of those tokens
  int64_t bucket_batches = 64;
  int64_t max_length = 256;
  double max_ratio = 0;
  double label_smoothing = 0.1;
  bool valid_bleu = false;       ///< validate by beam search too
  search::SearchOptions valid_search;

  void declare(Options& options);
};

/// BLEU (or another score, larger is better) of translations against references. Given by the tool, as metrics are not known here.
using CorpusScorer = std::function<double(const std::vector<std::string>& hypotheses, const std::vector<std::string>& references)>;

/// Another model of the same shape, its weights unset.
using ModelCopier = std::function<std::unique_ptr<model::Seq2Seq>()>;

/// `cache` is a directory for tokenised corpora, which rank 0 makes and all read. `model` and `vocabularies` must outlive the task. `copy` makes
/// the models of further workers.
std::unique_ptr<Task> make_translation_task(model::Seq2Seq& model, const ModelCopier& copy, const infer::Vocabularies& vocabularies,
                                            const TranslationTaskOptions& options, const std::string& cache, int threads,
                                            uint64_t seed, CorpusScorer scorer, Ranks& ranks);

}  // namespace seqmill::train
