#include "data/corpus.h"

#include <algorithm>

#include "base/error.h"
#include "base/threads.h"
#include "text/parallel_reader.h"

namespace seqmill::data {
namespace {

constexpr TokenFileKind kKind = "sqmcorp2";
constexpr size_t kChunkPairs = 1 << 14;  // pairs tokenised together, shared out among the threads

void add_vocabulary(Fingerprint& fingerprint, const text::Vocabulary& vocabulary) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) fingerprint.add(std::string_view(vocabulary.piece(id)));
}

/// Reads text, tokenises, applies the rules and writes the cache file.
class Builder {
 public:
  Builder(const text::Vocabulary& source, const text::Vocabulary& target, const CorpusLimits& limits, const std::string& path)
      : source_vocabulary_(source), target_vocabulary_(target), limits_(limits), file_(path, kKind) {}

  void build(const std::string& source, const std::string& target, const Fingerprint& fingerprint) {
    read(source, target);
    file_.close(fingerprint, counts_);
  }

 private:
  void read(const std::string& source, const std::string& target) {
    text::ParallelReader reader(source, target);
    std::vector<std::string> sources, targets;
    std::string source_line, target_line;
    bool more = true;
    while (more) {
      more = reader.next(source_line, target_line);
      if (more) {
        sources.push_back(source_line);
        targets.push_back(target_line);
      }
      if (!more || sources.size() == kChunkPairs) {
        add(sources, targets);
        sources.clear();
        targets.clear();
      }
    }
  }

  void add(const std::vector<std::string>& sources, const std::vector<std::string>& targets) {
    std::vector<Tokens> source_ids(sources.size()), target_ids(sources.size());
    parallel_for(static_cast<int64_t>(sources.size()), 64, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        source_ids[i] = source_vocabulary_.encode(sources[i]);
        target_ids[i] = target_vocabulary_.encode(targets[i]);
      }
    });
    for (size_t i = 0; i < sources.size(); ++i) {
      ++counts_.lines;
      if (accept(source_ids[i], target_ids[i])) {
        put(source_ids[i]);
        put(target_ids[i]);
        counts_.source_tokens += static_cast<int64_t>(source_ids[i].size());
        counts_.target_tokens += static_cast<int64_t>(target_ids[i].size());
      }
    }
  }

  bool accept(const Tokens& source, const Tokens& target) {
    const auto shorter = static_cast<int64_t>(std::min(source.size(), target.size()));
    const auto longer = static_cast<int64_t>(std::max(source.size(), target.size()));
    if (shorter == 0) {
      ++counts_.empty;
    } else if (longer > limits_.max_length) {
      ++counts_.too_long;
    } else if (limits_.max_ratio > 0 && static_cast<double>(longer) > limits_.max_ratio * static_cast<double>(shorter)) {
      ++counts_.ratio;
    } else {
      ++counts_.kept;
      return true;
    }
    return false;
  }

  void put(const Tokens& tokens) {
    file_.begin_entry();
    file_.put(tokens);
  }

  const text::Vocabulary &source_vocabulary_, &target_vocabulary_;
  CorpusLimits limits_;
  TokenFileWriter file_;
  CorpusCounts counts_;
};

}  // namespace

ParallelCorpus::ParallelCorpus(const std::string& source, const std::string& target,
                               const text::Vocabulary& source_vocabulary, const text::Vocabulary& target_vocabulary,
                               const CorpusLimits& limits, const std::string& cache) {
  Fingerprint fingerprint;
  fingerprint.add_file(source).add_file(target);
  add_vocabulary(fingerprint, source_vocabulary);
  add_vocabulary(fingerprint, target_vocabulary);
  fingerprint.add(static_cast<uint64_t>(limits.max_length)).add(limits.max_ratio);
  if (!open(cache, &fingerprint)) {
    Builder(source_vocabulary, target_vocabulary, limits, cache).build(source, target, fingerprint);
    if (!open(cache, &fingerprint)) fail("{} cannot be read back", cache);
  }
  if (counts_.lines == 0) fail("{} is empty: it holds no pair of sentences", source);
  if (counts_.kept == 0) {
    fail("no pair of {} is left: {} empty, {} with more than {} tokens, {} past the length ratio", source, counts_.empty,
         counts_.too_long, limits.max_length, counts_.ratio);
  }
}

ParallelCorpus::ParallelCorpus(const std::string& cache) {
  if (!open(cache, nullptr)) fail_not_shared(cache);
}

bool ParallelCorpus::open(const std::string& cache, const Fingerprint* fingerprint) {
  return file_.open(cache, kKind, fingerprint, counts_) && file_.entries() == 2 * counts_.kept;
}

}  // namespace seqmill::data
