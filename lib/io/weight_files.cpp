#include <cstring>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/strings.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace seqmill::io {
namespace {

/// What earlier versions of transformers stored although the configuration says it.
constexpr const char* kDerived = ".rotary_emb.inv_freq";

}  // namespace

bool belongs_to_training(const std::string& tensor) { return tensor == kValueWeight || tensor == kValueBias; }

bool same_numbers(const TensorRecord& a, const TensorRecord* b) {
  return b && a.dtype == b->dtype && a.shape == b->shape && std::memcmp(a.data, b->data, static_cast<size_t>(a.bytes())) == 0;
}

WeightFiles::WeightFiles(const std::string& path) {
  if (ends_with(path, ".json")) {
    read_index(path);
  } else {
    files_.emplace_back(path);
  }
  for (const SafetensorsFile& file : files_) {
    for (const TensorRecord& record : file.tensors()) {
      if (!ends_with(record.name, kDerived)) tensors_.push_back(record);
    }
  }
  metadata_ = files_.front().metadata();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!places_.emplace(tensors_[i].name, i).second) fail("{}: {} is in two of its files", path, tensors_[i].name);
  }
}

WeightFiles::WeightFiles(std::vector<TensorRecord> in_memory) : tensors_(std::move(in_memory)) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!places_.emplace(tensors_[i].name, i).second) fail("{} is there twice", tensors_[i].name);
  }
}

void WeightFiles::read_index(const std::string& path) {
  const Json index = read_json(path);
  const Json* map = index.is_object() ? index.find("weight_map") : nullptr;
  if (!map || !map->is_object() || map->as_object().empty()) fail("{}: expected an object weight_map of tensors and their files", path);
  const std::string folder = std::filesystem::path(path).parent_path().string() + "/";
  std::map<std::string, std::set<std::string>> tensors_of;
  for (const auto& [tensor, file] : map->as_object()) {
    if (!file.is_string() || file.as_string().find('/') != std::string::npos) fail("{}: the file of {} is no name of a file beside it", path, tensor);
    tensors_of[file.as_string()].insert(tensor);
  }
  std::vector<std::string> missing;
  for (const auto& [file, tensors] : tensors_of) {
    if (!std::filesystem::exists(folder + file)) missing.push_back(file);
  }
  if (!missing.empty()) fail("{} names files that are not there: {}", path, join(missing, ", "));
  for (const auto& [file, tensors] : tensors_of) {
    files_.emplace_back(folder + file);
    for (const std::string& tensor : tensors) {
      if (!files_.back().find(tensor)) fail("{}: {} is not in {}", path, tensor, file);
    }
    for (const TensorRecord& record : files_.back().tensors()) {
      if (!tensors.count(record.name)) fail("{}: {} holds {}, which the index does not name", path, file, record.name);
    }
  }
}

const TensorRecord* WeightFiles::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace seqmill::io
