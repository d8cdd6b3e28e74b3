#include "train/vocabularies.h"

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "io/line_reader.h"
#include "io/output.h"

namespace seqmill::train {
namespace {

/// The bytes of a vocabulary that can be loaded; a file may be one of the run's own, which is about to be replaced.
std::string checked(const std::string& path) {
  const text::Vocabulary vocabulary(path);
  return io::read_file(path);
}

void expect_same(const std::string& given, const std::string& kept) {
  if (given.empty()) return;
  if (!std::filesystem::exists(given) && std::filesystem::exists(kept)) {
    log::warn("{} is gone; the run goes on with its own copy, {}", given, kept);
    return;
  }
  if (std::filesystem::exists(kept) && io::read_file(given) == io::read_file(kept)) return;
  fail_usage("{} is another vocabulary than {}, which the checkpoints of this run were trained with", given, kept);
}

}  // namespace

void VocabularyOptions::declare(Options& options) {
  options.group("Vocabulary");
  options.add("vocab", joint, "SentencePiece model for both sides").placeholder("FILE");
  options.add("vocab-src", source, "SentencePiece model of the source side; needs --vocab-tgt").placeholder("FILE");
  options.add("vocab-tgt", target, "SentencePiece model of the target side").placeholder("FILE");
  options.add("vocab-size", size, "Train a vocabulary of this size on the training text").range(0);
  options.add("vocab-type", type, "Kind of vocabulary to train").one_of({"bpe", "unigram"});
  options.add("vocab-separate", separate, "Train one vocabulary per side instead of a joint one");
  options.add("vocab-coverage", character_coverage, "Share of characters that get a piece of their own").range(0.98, 1);
  options.add("vocab-byte-fallback", byte_fallback, "Spell other characters in bytes instead of the unknown piece");
}

infer::Vocabularies prepare_vocabularies(const VocabularyOptions& options, const std::string& train_source,
                                         const std::string& train_target, const io::RunDir& run, int threads) {
  const std::string both = run.file("vocab.spm"), source = run.file("vocab.src.spm"), target = run.file("vocab.tgt.spm");
  const bool given = !options.joint.empty() || !options.source.empty() || !options.target.empty();
  if (given && options.size > 0) fail_usage("give a vocabulary or --vocab-size, not both");
  if (options.source.empty() != options.target.empty()) fail_usage("--vocab-src and --vocab-tgt go together");
  if (!options.joint.empty() && !options.source.empty()) fail_usage("give --vocab, or --vocab-src and --vocab-tgt, not both");
  if (!run.linked("last").empty()) {
    if (options.separate && options.size > 0 && std::filesystem::exists(both)) {
      fail_usage("--vocab-separate: this run was begun with one vocabulary for both sides");
    }
    expect_same(options.joint, both);
    expect_same(options.source, source);
    expect_same(options.target, target);
    infer::Vocabularies kept = infer::load_vocabularies(run.path());
    for (const auto& vocabulary : {kept.source, kept.target}) {
      if (options.size == 0 || vocabulary->size() == options.size) continue;
      fail_usage("--vocab-size {}: this run was begun with a vocabulary of {} pieces; give another --run to begin anew", options.size,
                 vocabulary->size());
    }
    return kept;
  }
  if (!given && options.size == 0) fail_usage("give --vocab FILE, --vocab-src and --vocab-tgt, or --vocab-size N");
  if (options.separate && options.size > 0 && train_target.empty()) fail_usage("--vocab-separate needs two files, not a TSV");
  std::vector<std::pair<std::string, std::string>> copies;  // name in the run, bytes
  if (!options.joint.empty()) copies.emplace_back(both, checked(options.joint));
  if (!options.source.empty()) copies = {{source, checked(options.source)}, {target, checked(options.target)}};
  // What a session left that never came to a checkpoint may be of other options.
  for (const std::string& file : {both, source, target}) {
    std::error_code code;
    std::filesystem::remove(file, code);
    if (code) fail("cannot remove {}: {}", file, code.message());
  }
  if (given) {
    for (const auto& [file, bytes] : copies) io::write_file(file, bytes);
  } else {
    text::VocabularyTraining training;
    training.size = options.size;
    training.type = options.type;
    training.character_coverage = options.character_coverage;
    training.byte_fallback = options.byte_fallback;
    training.threads = threads;
    log::info("training a {} vocabulary of {} pieces", options.type, options.size);
    if (options.separate) {
      text::train_vocabulary({train_source}, training, source);
      text::train_vocabulary({train_target}, training, target);
    } else if (train_target.empty()) {
      text::train_vocabulary({train_source}, training, both);
    } else {
      text::train_vocabulary({train_source, train_target}, training, both);
    }
  }
  return infer::load_vocabularies(run.path());
}

}  // namespace seqmill::train
