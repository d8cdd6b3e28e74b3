#include "io/run_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/strings.h"
#include "io/descriptor.h"
#include "io/directory.h"
#include "io/line_reader.h"
#include "io/output.h"

namespace seqmill::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStep = "step-";
constexpr const char* kTemporary = ".tmp-";  // being written or removed: worth nothing after a crash
constexpr const char* kOld = ".old-";        // set aside while its replacement is renamed into place
constexpr const char* kLast = "last";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfig = "config.yaml";
// As Hugging Face has them: weights in several files, and the configuration.
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kForeignConfig = "config.json";

// The update of "step-00012000", or -1 for any other name.
int64_t update_of(const std::string& name) {
  const std::string_view prefix = kStep;
  if (!starts_with(name, prefix)) return -1;
  const std::string_view digits = std::string_view(name).substr(prefix.size());
  int64_t update = -1;
  if (digits.find_first_not_of("0123456789") != std::string_view::npos || !parse_int(digits, update)) return -1;
  return update;
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Descriptor lock_run(const std::string& path) {
  const std::string file = path + "/.lock";
  Descriptor lock(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!lock.is_open()) fail_errno("cannot write to the run directory " + path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail_errno("cannot lock the run directory " + path);
    char holder[512] = {};
    const ssize_t size = ::pread(lock.get(), holder, sizeof holder - 1, 0);
    fail("the run directory {} is in use by {}; wait until it ends, or choose another directory", path,
         size > 0 ? std::string(trim(holder)) : "another process");
  }
  if (::ftruncate(lock.get(), 0) != 0) fail_errno("cannot write to the run directory " + path);
  write_all(lock.get(), fmt::format("process {} on {}\n", ::getpid(), host_name()), file);
  return lock;
}

// The target of a link, as written, or "".
std::string read_link(const std::string& path) {
  std::error_code ignored;
  return fs::read_symlink(path, ignored).string();
}

void set_link(const std::string& directory, const std::string& name, const std::string& target) {
  const std::string temporary = fmt::format("{}/{}{}-link-{}", directory, kTemporary, ::getpid(), name);
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0)
    fail_errno(fmt::format("cannot make the link {}/{}", directory, name));
  try {
    rename_checked(temporary, directory + "/" + name);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(directory);
}

std::vector<std::string> complete_checkpoints(const std::string& directory) {
  std::vector<std::pair<int64_t, std::string>> found;
  if (!is_directory(directory)) return {};
  for (const std::string& name : names_in(directory)) {
    const int64_t update = update_of(name);
    if (update >= 0 && is_directory(directory + "/" + name)) found.emplace_back(update, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& [update, name] : found) names.push_back(std::move(name));
  return names;
}

// Finishes or undoes what a killed process was at. Every name says by itself what it is, and the lock is ours, so
// that nothing here belongs to anyone else.
void recover_leftovers(const std::string& directory) {
  for (const std::string& name : names_in(directory)) {
    const std::string path = directory + "/" + name;
    if (starts_with(name, kTemporary)) remove_tree(path);
    if (!starts_with(name, kOld)) continue;
    const std::string original = directory + "/" + name.substr(std::string_view(kOld).size());
    if (is_directory(original)) {
      remove_tree(path);
    } else {
      rename_checked(path, original);
    }
  }
}

void recover_links(const std::string& directory) {
  for (const std::string& name : names_in(directory)) {
    const std::string path = directory + "/" + name;
    const std::string target = read_link(path);
    if (target.empty() || is_directory(path)) continue;
    log::warn("{} points to {}, which is gone: the link is removed", path, target);
    if (::unlink(path.c_str()) != 0) fail_errno("cannot remove " + path);
  }
  const std::vector<std::string> checkpoints = complete_checkpoints(directory);
  if (!checkpoints.empty() && read_link(directory + "/" + kLast).empty())
    set_link(directory, kLast, checkpoints.back());
}

}  // namespace

std::string checkpoint_name(int64_t update) { return fmt::format("{}{:08}", kStep, update); }

std::vector<std::string> model_companions(const std::string& directory) {
  std::vector<std::string> names;
  for (const char* name : {kConfig, "vocab.spm", "vocab.src.spm", "vocab.tgt.spm", kForeignConfig, "tokenizer.model", "tokenizer.json", "tokenizer_config.json",
                           "added_tokens.json", "special_tokens_map.json", "generation_config.json", kChatTemplateFile, "judge.yaml"}) {
    if (is_file(directory + "/" + name)) names.emplace_back(name);
  }
  return names;
}

void copy_companions(const std::string& from, const std::string& to) {
  for (const std::string& name : model_companions(from)) write_file(to + "/" + name, read_file(from + "/" + name));
}

RunDir::RunDir(const std::string& path, Role role) : path_(path) {
  if (role == Role::kReader) return;
  make_directory(path);
  Descriptor lock = lock_run(path);
  const std::string directory = path + "/ckpt";
  make_directory(directory);
  recover_leftovers(directory);
  recover_links(directory);
  lock_ = lock.release();
}

RunDir::~RunDir() {
  if (lock_ >= 0) ::close(lock_);
}

std::string RunDir::save_checkpoint(int64_t update,
                                    const std::function<void(const std::string& directory)>& write) {
  if (update < 0) fail("cannot save a checkpoint of update {}", update);
  const std::string directory = path_ + "/ckpt";
  const std::string name = checkpoint_name(update);
  const std::string target = directory + "/" + name;
  const std::string old = fmt::format("{}/{}{}", directory, kOld, name);
  const std::string temporary = fmt::format("{}/{}{}-{}", directory, kTemporary, ::getpid(), name);
  const std::string last = read_link(directory + "/" + kLast);
  bool set_aside = false, in_place = false;
  try {
    remove_tree(temporary);
    make_directory(temporary);
    write(temporary);
    sync_tree(temporary);
    if (is_directory(target)) {
      rename_checked(target, old);
      set_aside = true;
    }
    rename_checked(temporary, target);
    in_place = true;
    sync_directory(directory);
    set_link(directory, kLast, name);
  } catch (const std::exception& error) {
    // Undone in the opposite order; what fails here is left to the recovery of the next opening.
    std::error_code ignored;
    if (in_place && !last.empty() && read_link(directory + "/" + kLast) != last) {
      fs::remove(directory + "/" + kLast, ignored);
      fs::create_symlink(last, directory + "/" + kLast, ignored);
    }
    if (in_place) fs::rename(target, temporary, ignored);
    if (set_aside) fs::rename(old, target, ignored);
    fs::remove_all(temporary, ignored);
    const auto* known = dynamic_cast<const Error*>(&error);
    throw Error(
        fmt::format("checkpoint {} was not saved: {}; earlier checkpoints are intact", target, error.what()),
        known ? known->exit_code() : kExitFailure);
  }
  std::error_code code;
  if (set_aside) fs::remove_all(old, code);
  if (code) log::warn("cannot remove {}: {}", old, code.message());
  return name;
}

void RunDir::link(const std::string& name, const std::string& checkpoint) {
  if (update_of(checkpoint) < 0 || !is_directory(checkpoint_path(checkpoint))) {
    fail("cannot link {} to the checkpoint {}: there is none", checkpoint_path(name), checkpoint);
  }
  set_link(path_ + "/ckpt", name, checkpoint);
}

std::string RunDir::linked(const std::string& name) const {
  const std::string target = fs::path(read_link(checkpoint_path(name))).filename().string();
  return update_of(target) >= 0 && is_directory(checkpoint_path(target)) ? target : "";
}

std::vector<std::string> RunDir::checkpoints() const { return complete_checkpoints(path_ + "/ckpt"); }

void RunDir::remove_checkpoint(const std::string& name) {
  if (update_of(name) < 0 || !is_directory(checkpoint_path(name)))
    fail("no checkpoint {} to remove", checkpoint_path(name));
  // Renamed first: a crash half-way through must not leave something that looks complete.
  const std::string doomed = fmt::format("{}/ckpt/{}{}-removed-{}", path_, kTemporary, ::getpid(), name);
  rename_checked(checkpoint_path(name), doomed);
  remove_tree(doomed);
}

std::vector<std::string> newest_checkpoints(const std::string& run, int64_t count) {
  if (!is_directory(run + "/ckpt")) fail("{} is no run with checkpoints (no ckpt/ in it): there is nothing to average", run);
  const std::vector<std::string> names = complete_checkpoints(run + "/ckpt");
  const auto found = static_cast<int64_t>(names.size());
  if (found < count) {
    fail("{} holds {} checkpoints, {} are to be averaged; train with --keep-last {} or more", run, found, count, count);
  }
  std::vector<std::string> files;
  for (auto name = names.end() - count; name != names.end(); ++name) files.push_back(run + "/ckpt/" + *name + "/" + kWeights);
  return files;
}

ModelFiles find_model(const std::string& path) {
  const auto files_of = [](const std::string& weights, const std::string& home) {
    return ModelFiles{weights + "/" + kWeights, home + "/" + kConfig, home};
  };
  std::error_code code;
  if (!fs::exists(path, code))
    fail("cannot open the model {}: {}", path, code ? code.message() : "No such file or directory");
  for (const char* weights : {kWeights, kIndex}) {
    const bool foreign = !is_file(path + "/" + kConfig) && is_file(path + "/" + kForeignConfig);
    if (foreign && is_file(path + "/" + weights)) return {path + "/" + weights, path + "/" + kForeignConfig, path};
  }
  if (is_file(path + "/" + kWeights)) {
    if (is_file(path + "/" + kConfig)) return files_of(path, path);
    const std::string run = fs::canonical(path, code).parent_path().parent_path().string();
    if (!code && is_file(run + "/" + kConfig)) return files_of(path, run);
    fail("{} has no {}, and neither has the run two levels up ({})", path, kConfig, run);
  }
  for (const char* name : {"best", kLast}) {
    const std::string checkpoint = fmt::format("{}/ckpt/{}", path, name);
    if (!is_file(checkpoint + "/" + kWeights)) continue;
    if (!is_file(path + "/" + kConfig)) fail("the run {} has no {}", path, kConfig);
    return files_of(checkpoint, path);
  }
  if (is_directory(path + "/ckpt"))
    fail("the run {} has no checkpoint yet: neither ckpt/best nor ckpt/last holds a {}", path, kWeights);
  if (is_file(path + "/" + kForeignConfig)) fail("{} has a {}, but neither {} nor {}: its weights are missing, or of another format (pytorch_model.bin)", path, kForeignConfig, kWeights, kIndex);
  fail("{} is no model: expected a model directory or a checkpoint (with {}), or a run (with ckpt/)", path,
       kWeights);
}

}  // namespace seqmill::io
