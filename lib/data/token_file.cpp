#include "data/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::data {
namespace {

constexpr size_t kKindBytes = 8;

/// Ends the file: how much there is, is known last.
struct Trailer {
  uint64_t fingerprint = 0;
  int64_t tokens = 0, entries = 0, counts_bytes = 0;
};

template <typename Value>
std::string_view bytes_of(const Value* data, size_t count) {
  return {reinterpret_cast<const char*>(data), count * sizeof(Value)};
}

int64_t padded_bytes(int64_t tokens) { return (tokens * static_cast<int64_t>(sizeof(int32_t)) + 7) / 8 * 8; }

/// Whether the entries rise from 0 to the number of tokens.
bool is_index(const int64_t* index, int64_t entries, int64_t tokens) {
  return index[0] == 0 && index[entries] == tokens && std::is_sorted(index, index + entries + 1);
}

}  // namespace

Fingerprint& Fingerprint::add(uint64_t value) {
  hash_ = (hash_ ^ value) * 0x100000001b3ULL;
  return *this;
}

Fingerprint& Fingerprint::add(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return add(bits);
}

Fingerprint& Fingerprint::add(std::string_view text) {
  for (const char c : text) add(static_cast<uint64_t>(static_cast<unsigned char>(c)));
  return add(static_cast<uint64_t>(text.size()));
}

Fingerprint& Fingerprint::add_bytes(const void* bytes, size_t count) {
  const auto* from = static_cast<const unsigned char*>(bytes);
  for (size_t done = 0; done < count; done += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, from + done, std::min(sizeof word, count - done));
    add(word);
    // A product carries upwards only: without this the signs of two numbers could be turned unseen.
    hash_ ^= hash_ >> 32;
  }
  return add(static_cast<uint64_t>(count));
}

Fingerprint& Fingerprint::add_file(const std::string& path) {
  add(path);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    add(static_cast<uint64_t>(status.st_size));
    add(static_cast<uint64_t>(status.st_mtim.tv_sec));
    add(static_cast<uint64_t>(status.st_mtim.tv_nsec));
    add(static_cast<uint64_t>(status.st_ino));
  }
  return *this;
}

TokenFileWriter::TokenFileWriter(const std::string& path, const TokenFileKind& kind) : file_(path) { file_.write({kind, kKindBytes}); }

void TokenFileWriter::put(const Tokens& tokens) {
  tokens_ += static_cast<int64_t>(tokens.size());
  file_.write(bytes_of(tokens.data(), tokens.size()));
}

void TokenFileWriter::finish(uint64_t fingerprint, std::string_view counts) {
  const Trailer trailer{fingerprint, tokens_, static_cast<int64_t>(index_.size()), static_cast<int64_t>(counts.size())};
  const std::array<char, 8> padding{};
  file_.write(bytes_of(padding.data(), static_cast<size_t>(padded_bytes(tokens_)) - static_cast<size_t>(tokens_) * sizeof(int32_t)));
  index_.push_back(tokens_);
  file_.write(bytes_of(index_.data(), index_.size()));
  file_.write(counts);
  file_.write(bytes_of(&trailer, 1));
  file_.close();
}

TokenFile::~TokenFile() { release(); }

void TokenFile::release() {
  if (mapping_) ::munmap(mapping_, mapped_bytes_);
  mapping_ = nullptr;
}

bool TokenFile::map(const std::string& path, const TokenFileKind& kind, const Fingerprint* fingerprint, size_t counts_bytes, std::string_view& counts) {
  release();
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  struct stat status {};
  const bool readable = ::fstat(descriptor, &status) == 0 && status.st_size >= static_cast<off_t>(kKindBytes + sizeof(Trailer));
  void* mapping = readable ? ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, descriptor, 0) : MAP_FAILED;
  ::close(descriptor);
  if (mapping == MAP_FAILED) return false;
  const char* begin = static_cast<const char*>(mapping);
  const auto bytes = static_cast<int64_t>(status.st_size);
  Trailer trailer;
  std::memcpy(&trailer, begin + bytes - sizeof trailer, sizeof trailer);
  const auto index_bytes = [&] { return (trailer.entries + 1) * static_cast<int64_t>(sizeof(int64_t)); };
  const bool whole = std::memcmp(begin, kind, kKindBytes) == 0 && (!fingerprint || trailer.fingerprint == fingerprint->value()) &&
                     trailer.counts_bytes == static_cast<int64_t>(counts_bytes) && trailer.tokens >= 0 && trailer.tokens <= bytes && trailer.entries >= 0 &&
                     trailer.entries <= bytes &&
                     bytes == static_cast<int64_t>(kKindBytes + counts_bytes + sizeof trailer) + padded_bytes(trailer.tokens) + index_bytes();
  const auto* index = whole ? reinterpret_cast<const int64_t*>(begin + kKindBytes + padded_bytes(trailer.tokens)) : nullptr;
  if (!whole || !is_index(index, trailer.entries, trailer.tokens)) {
    ::munmap(mapping, static_cast<size_t>(bytes));
    return false;
  }
  mapping_ = mapping;
  mapped_bytes_ = static_cast<size_t>(bytes);
  entries_ = trailer.entries;
  index_ = index;
  tokens_ = reinterpret_cast<const int32_t*>(begin + kKindBytes);
  counts = {begin + bytes - sizeof trailer - counts_bytes, counts_bytes};
  return true;
}

uint64_t TokenFile::shape() const {
  Fingerprint hash;
  for (int64_t entry = 0; entry <= entries_; ++entry) hash.add(static_cast<uint64_t>(index_[entry]));
  return hash.value();
}

void fail_not_shared(const std::string& path) {
  fail("cannot open {}, which rank 0 has made: the run directory must be on a file system that all ranks share", path);
}

void remove_unfinished_token_files(const std::string& directory) {
  std::error_code code;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(directory, code)) {
    const std::string name = entry.path().filename().string();
    const bool unfinished = starts_with(name, ".") && name.find(".tokens") != std::string::npos && name.find(".tmp-") != std::string::npos;
    if (unfinished && entry.is_regular_file(code)) std::filesystem::remove(entry.path(), code);
  }
}

}  // namespace seqmill::data
