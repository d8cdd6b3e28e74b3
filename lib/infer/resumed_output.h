#pragma once
// Records written one by one, so that a call that was killed can be taken up again.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "io/output.h"

namespace seqmill::infer {

class ResumedOutput {
 public:
  /// Reads the whole records that `path` holds, if there is such a file; what a killed call left behind the last line end is cut off. Throws Error for what
  /// are no hypotheses of `origin`, `samples` a record (`fewer`: at most), and when another process writes to the file.
  ResumedOutput(const std::string& path, const std::string& origin, int64_t samples, bool fewer);

  /// Records that are there.
  int64_t size() const { return static_cast<int64_t>(prompts_.size()); }
  /// Throws Error unless record `number` of the file belongs to this one of the input, whose id goes by `id`.
  void check(int64_t number, const io::Json& input, const std::string& id, const std::string& where) const;

  void write(std::string_view record) { file_.write(record); }
  void close() { file_.close(); }

 private:
  struct Prompt {
    std::string id;
    size_t hash;  ///< of all but the hypotheses
  };
  void read(const std::string& origin, int64_t samples, bool fewer);
  Prompt read_record(std::string_view line, const std::string& origin, int64_t samples, bool fewer) const;

  std::string path_;
  io::AppendedFile file_;
  std::vector<Prompt> prompts_;
};

}  // namespace seqmill::infer
