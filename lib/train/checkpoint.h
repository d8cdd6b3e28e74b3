#pragma once
// Checkpoints of a training run: model.safetensors (what inference uses), optim.safetensors (what only training needs) and
// state.json (numbers). The format is in docs/formats.md.

#include <cstdint>
#include <string>
#include <vector>

#include "io/json.h"

namespace seqmill::train {

constexpr int64_t kCheckpointFormat = 1;

/// Where a run stands.
struct Progress {
  int64_t update = 0;
  int64_t optimizer_steps = 0;
  int64_t skipped = 0;              ///< updates left out because loss or gradient was not finite
  double seconds = 0;               ///< spent training, all sessions together
  int64_t target_tokens = 0;
  int64_t validated = -1;           ///< the last update that was validated
  int64_t validations_without_gain = 0;
  struct Best {
    std::string checkpoint;
    double score = 0;  ///< larger is better
  };
  std::string best_by;              ///< the score that `best` is about: "loss" or "bleu"
  std::vector<Best> best;           ///< best first
  bool averages = false;            ///< whether there is a moving average of the weights
  io::Json cursor;                  ///< the task's

  io::Json to_json() const;
  /// Throws Error naming `where` for a missing field or another format version.
  static Progress from_json(const io::Json& json, const std::string& where);
};

}  // namespace seqmill::train
