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
  /// Reads the whole records that `path` holds, if there is such a file, and keeps in mind what a killed call left behind the last line end. `call` is an object
  /// of what texts depend on, "model" and "samples" among it; with a beam there may be fewer hypotheses than samples. While a file is not complete,
  /// `path`.resume holds that of the call that began it. Throws Error for what are no hypotheses of that model, for another call's file, and when another process
  /// writes to it. Nothing is changed before begin().
  ResumedOutput(const std::string& path, const io::Json& call, bool by_beam);

  /// Records that are there.
  int64_t size() const { return static_cast<int64_t>(prompts_.size()); }
  /// Whether the beginning of another is there.
  bool has_tail() const { return !tail_.empty(); }
  /// Throws Error unless record `number` of the file belongs to this one of the input, whose id goes by `id`.
  void check(int64_t number, const io::Json& input, const std::string& id, const std::string& where) const;
  /// Throws Error unless what stands behind the whole records begins one that belongs to this one of the input.
  void check_tail(const io::Json& input, const std::string& where) const;
  /// Whether the options of the call that began the file are known.
  bool knows_call() const { return knows_call_; }

  /// After all checks: cuts off the record that is not whole. Others can be written.
  void begin();
  void write(std::string_view record) { file_.write(record); }
  /// The file is complete.
  void close();

 private:
  struct Prompt {
    std::string id;
    size_t hash;  ///< of all but the hypotheses
  };
  void read(const std::string& origin, int64_t samples);
  Prompt read_record(std::string_view line, const std::string& origin, int64_t samples) const;
  void check_call() const;
  std::string companion() const { return path_ + ".resume"; }

  std::string path_;
  io::Json call_;
  bool by_beam_;
  io::AppendedFile file_;
  std::vector<Prompt> prompts_;
  std::string tail_;    ///< what stands behind them
  int64_t whole_ = 0;   ///< bytes of whole records
  bool knows_call_ = false;
};

}  // namespace seqmill::infer
