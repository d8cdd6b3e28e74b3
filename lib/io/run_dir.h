#pragma once
// The run directory of a training tool (docs/formats.md) and what inference may be pointed at.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace seqmill::io {

/// A run directory held by this process: created when missing, locked (flock on <dir>/.lock) until destroyed.
class RunDir {
 public:
  enum class Role { kWriter, kReader };
  /// Throws Error when the directory cannot be made or written, or when another process holds it (names its pid and host). A reader makes and
  /// locks nothing: it belongs to the same training as the process that does.
  explicit RunDir(const std::string& path, Role role = Role::kWriter);
  ~RunDir();
  RunDir(const RunDir&) = delete;
  RunDir& operator=(const RunDir&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  /// Makes ckpt/step-<update, 8 digits>: `write(directory)` fills a temporary directory, every file in it is fsynced, it is renamed, and
  /// ckpt/last is swapped to it. On any error the temporary directory is removed and nothing else has changed. An existing
  /// checkpoint of the same update is replaced. Returns the directory's name ("step-00012000").
  std::string save_checkpoint(int64_t update, const std::function<void(const std::string& directory)>& write);
  /// Points ckpt/best (or another link) to a checkpoint, atomically.
  void link(const std::string& name, const std::string& checkpoint);
  /// The checkpoint a link points to ("step-00012000"), or "" when there is none.
  std::string linked(const std::string& name) const;
  /// Names of all complete checkpoints, oldest first.
  std::vector<std::string> checkpoints() const;
  void remove_checkpoint(const std::string& name);
  std::string checkpoint_path(const std::string& name) const { return path_ + "/ckpt/" + name; }

 private:
  std::string path_;
  int lock_ = -1;
};

/// The name of an update's checkpoint: "step-00012000".
std::string checkpoint_name(int64_t update);

/// Under this name a model directory has the template of its conversations when that is a file.
constexpr const char* kChatTemplateFile = "chat.yaml";

/// Which of the files that a model directory has beside its weights (config.yaml, vocabularies) lie in this directory.
std::vector<std::string> model_companions(const std::string& directory);
void copy_companions(const std::string& from, const std::string& to);

/// The files inference reads. `--model` accepts a model directory (model.safetensors, config.yaml, vocab.spm), a checkpoint (the
/// run's config and vocabulary are found two levels up), a run (its best, else its last checkpoint) or a directory as Hugging Face has it (config.json,
/// model.safetensors or the index of several).
struct ModelFiles {
  std::string weights;    ///< .../model.safetensors, or .../model.safetensors.index.json: io::WeightFiles reads both
  std::string config;     ///< .../config.yaml or .../config.json
  std::string directory;  ///< where vocab.spm (or vocab.src.spm and vocab.tgt.spm, or another tokeniser) lies
};
ModelFiles find_model(const std::string& path);

/// The weight files of the `count` newest checkpoints of a run directory, oldest first. Throws Error when there are fewer.
std::vector<std::string> newest_checkpoints(const std::string& run, int64_t count);

}  // namespace seqmill::io
