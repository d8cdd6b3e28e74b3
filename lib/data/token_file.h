#pragma once
// Files of token ids: written once, then mapped, so that a corpus larger than memory costs address space only. A file knows what it was made of and is used
// again while that stays the same.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "data/batch.h"
#include "io/output.h"

namespace seqmill::data {

/// What something was made of, as one number.
class Fingerprint {
 public:
  Fingerprint& add(uint64_t value);
  Fingerprint& add(double value);
  Fingerprint& add(std::string_view text);
  /// Of many bytes, eight at a time.
  Fingerprint& add_bytes(const void* bytes, size_t count);
  /// Its name, size, inode and time of change.
  Fingerprint& add_file(const std::string& path);
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325ULL;
};

/// Eight characters: of which kind a file is, and in which version of its format.
using TokenFileKind = const char[9];

/// Writes the tokens of a file entry by entry; it appears under its name when it is complete.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::string& path, const TokenFileKind& kind);
  /// What follows belongs to a new entry.
  void begin_entry() { index_.push_back(tokens_); }
  void put(const Tokens& tokens);
  /// `Counts`: numbers of 64 bits that describe the contents.
  template <typename Counts>
  void close(const Fingerprint& fingerprint, const Counts& counts) {
    static_assert(std::is_trivially_copyable_v<Counts> && sizeof(Counts) % sizeof(int64_t) == 0);
    finish(fingerprint.value(), {reinterpret_cast<const char*>(&counts), sizeof counts});
  }

 private:
  void finish(uint64_t fingerprint, std::string_view counts);

  io::Output file_;
  std::vector<int64_t> index_;  ///< where each entry begins
  int64_t tokens_ = 0;
};

/// Such a file, mapped.
class TokenFile {
 public:
  TokenFile() = default;
  ~TokenFile();
  TokenFile(const TokenFile&) = delete;
  TokenFile& operator=(const TokenFile&) = delete;

  /// False when there is no such file, or it is damaged, of another kind or made of something else (`fingerprint` null: whatever it was made of).
  template <typename Counts>
  bool open(const std::string& path, const TokenFileKind& kind, const Fingerprint* fingerprint, Counts& counts) {
    std::string_view bytes;
    if (!map(path, kind, fingerprint, sizeof counts, bytes)) return false;
    std::memcpy(&counts, bytes.data(), sizeof counts);
    return true;
  }

  const int32_t* tokens() const { return tokens_; }
  int64_t size() const { return index_[entries_]; }  ///< tokens
  int64_t entries() const { return entries_; }
  int64_t length(int64_t entry) const { return index_[entry + 1] - index_[entry]; }
  Tokens entry(int64_t number) const { return Tokens(tokens_ + index_[number], tokens_ + index_[number + 1]); }
  /// A hash of the lengths of all entries.
  uint64_t shape() const;

 private:
  void release();
  bool map(const std::string& path, const TokenFileKind& kind, const Fingerprint* fingerprint, size_t counts_bytes, std::string_view& counts);

  void* mapping_ = nullptr;
  size_t mapped_bytes_ = 0;
  int64_t entries_ = 0;
  const int64_t* index_ = nullptr;  ///< where each entry begins, and where the last ends
  const int32_t* tokens_ = nullptr;
};

/// Error for a file that another rank has written and this one does not see.
[[noreturn]] void fail_not_shared(const std::string& path);

/// Removes what a killed process was writing into a folder of token files named *.tokens, and nothing else. For the one who alone writes there.
void remove_unfinished_token_files(const std::string& directory);

}  // namespace seqmill::data
