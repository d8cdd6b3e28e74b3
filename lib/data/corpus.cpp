#include "data/corpus.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/output.h"
#include "text/parallel_reader.h"

namespace seqmill::data {
namespace {

constexpr std::array<char, 8> kMagic{'s', 'q', 'm', 'c', 'o', 'r', 'p', '1'};
constexpr size_t kChunkPairs = 1 << 14;  // pairs tokenised together, shared out among the threads

struct Header {
  std::array<char, 8> magic = kMagic;
  uint64_t fingerprint = 0;
  CorpusCounts counts;
  int64_t token_bytes = 0;  ///< tokens follow the header, the index follows the tokens
};

uint64_t combine(uint64_t hash, uint64_t value) { return (hash ^ value) * 0x100000001b3ULL; }

uint64_t file_identity(uint64_t hash, const std::string& path) {
  for (const char c : path) hash = combine(hash, static_cast<unsigned char>(c));
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    hash = combine(hash, static_cast<uint64_t>(status.st_size));
    hash = combine(hash, static_cast<uint64_t>(status.st_mtim.tv_sec));
    hash = combine(hash, static_cast<uint64_t>(status.st_mtim.tv_nsec));
    hash = combine(hash, status.st_ino);
  }
  return hash;
}

uint64_t vocabulary_identity(uint64_t hash, const text::Vocabulary& vocabulary) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    for (const char c : vocabulary.piece(id)) hash = combine(hash, static_cast<unsigned char>(c));
    hash = combine(hash, 0xff);
  }
  return hash;
}

uint64_t double_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

std::string_view bytes_of(const void* data, size_t size) { return {static_cast<const char*>(data), size}; }

/// Whether the entries rise from 0 to the number of tokens.
bool is_index(const int64_t* entries, int64_t count, int64_t tokens) {
  return entries[0] == 0 && entries[count - 1] == tokens && std::is_sorted(entries, entries + count);
}

/// Reads text, tokenises, applies the rules and writes the cache file.
class Builder {
 public:
  Builder(const text::Vocabulary& source, const text::Vocabulary& target, const CorpusLimits& limits, const std::string& path)
      : source_vocabulary_(source), target_vocabulary_(target), limits_(limits), path_(path), body_(path + ".tokens") {}

  CorpusCounts build(const std::string& source, const std::string& target, uint64_t fingerprint) {
    // The counts belong in the header but are known last: the tokens go to a file of their own first.
    read(source, target);
    body_.close();
    Header header;
    header.fingerprint = fingerprint;
    header.counts = counts_;
    header.token_bytes = position_ * static_cast<int64_t>(sizeof(int32_t));
    index_.push_back(position_);
    io::Output file(path_);
    file.write(bytes_of(&header, sizeof header));
    copy_tokens(file, header.token_bytes);
    const std::array<char, 8> padding{};
    file.write(bytes_of(padding.data(), static_cast<size_t>(-header.token_bytes & 7)));
    file.write(bytes_of(index_.data(), index_.size() * sizeof(int64_t)));
    file.close();
    ::unlink((path_ + ".tokens").c_str());
    return counts_;
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
    index_.push_back(position_);
    position_ += static_cast<int64_t>(tokens.size());
    body_.write(bytes_of(tokens.data(), tokens.size() * sizeof(int32_t)));
  }

  void copy_tokens(io::Output& file, int64_t bytes) const {
    const int descriptor = ::open((path_ + ".tokens").c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail_errno("cannot read " + path_ + ".tokens");
    std::vector<char> buffer(1 << 20);
    while (bytes > 0) {
      errno = EIO;  // what a file that ends too early is taken for
      const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
      if (got <= 0) {
        ::close(descriptor);
        fail_errno("cannot read " + path_ + ".tokens");
      }
      file.write(bytes_of(buffer.data(), static_cast<size_t>(got)));
      bytes -= got;
    }
    ::close(descriptor);
  }

  const text::Vocabulary &source_vocabulary_, &target_vocabulary_;
  CorpusLimits limits_;
  std::string path_;
  io::Output body_;
  CorpusCounts counts_;
  std::vector<int64_t> index_;
  int64_t position_ = 0;
};

}  // namespace

ParallelCorpus::ParallelCorpus(const std::string& source, const std::string& target,
                               const text::Vocabulary& source_vocabulary, const text::Vocabulary& target_vocabulary,
                               const CorpusLimits& limits, const std::string& cache) {
  uint64_t fingerprint = file_identity(file_identity(0xcbf29ce484222325ULL, source), target);
  fingerprint = vocabulary_identity(vocabulary_identity(fingerprint, source_vocabulary), target_vocabulary);
  fingerprint = combine(combine(fingerprint, static_cast<uint64_t>(limits.max_length)), double_bits(limits.max_ratio));
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
  if (!open(cache, nullptr)) fail("cannot open {}, which rank 0 has made: the run directory must be on a file system that all ranks share", cache);
}

ParallelCorpus::~ParallelCorpus() {
  if (mapping_) ::munmap(mapping_, mapped_bytes_);
}

bool ParallelCorpus::open(const std::string& cache, const uint64_t* fingerprint) {
  const int descriptor = ::open(cache.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  struct stat status {};
  const bool readable = ::fstat(descriptor, &status) == 0 && status.st_size >= static_cast<off_t>(sizeof(Header));
  void* mapping = readable ? ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, descriptor, 0)
                           : MAP_FAILED;
  ::close(descriptor);
  if (mapping == MAP_FAILED) return false;
  const auto bytes = static_cast<size_t>(status.st_size);
  Header header;
  std::memcpy(&header, mapping, sizeof header);
  const int64_t padded = (header.token_bytes + 7) / 8 * 8;
  const bool whole = header.magic == kMagic && (!fingerprint || header.fingerprint == *fingerprint) && header.token_bytes >= 0 &&
                     header.token_bytes <= status.st_size && header.counts.kept >= 0 && header.counts.kept <= status.st_size &&
                     static_cast<int64_t>(bytes) == static_cast<int64_t>(sizeof header) + padded +
                                                        (2 * header.counts.kept + 1) * static_cast<int64_t>(sizeof(int64_t));
  const char* base = static_cast<const char*>(mapping) + sizeof header;
  if (!whole || !is_index(reinterpret_cast<const int64_t*>(base + padded), 2 * header.counts.kept + 1,
                          header.token_bytes / static_cast<int64_t>(sizeof(int32_t)))) {
    ::munmap(mapping, bytes);
    return false;
  }
  mapping_ = mapping;
  mapped_bytes_ = bytes;
  counts_ = header.counts;
  tokens_ = reinterpret_cast<const int32_t*>(base);
  index_ = reinterpret_cast<const int64_t*>(base + padded);
  return true;
}

uint64_t ParallelCorpus::shape() const {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (int64_t i = 0; i <= 2 * counts_.kept; ++i) hash = combine(hash, static_cast<uint64_t>(index_[i]));
  return hash;
}

int64_t ParallelCorpus::source_length(int64_t pair) const { return index_[2 * pair + 1] - index_[2 * pair]; }
int64_t ParallelCorpus::target_length(int64_t pair) const { return index_[2 * pair + 2] - index_[2 * pair + 1]; }
Tokens ParallelCorpus::slice(int64_t entry) const { return Tokens(tokens_ + index_[entry], tokens_ + index_[entry + 1]); }
Tokens ParallelCorpus::source(int64_t pair) const { return slice(2 * pair); }
Tokens ParallelCorpus::target(int64_t pair) const { return slice(2 * pair + 1); }

}  // namespace seqmill::data
