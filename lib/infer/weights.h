#pragma once
// The weights of a model, by name, as an architecture asks for them.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace seqmill::infer {

class Weights {
 public:
  /// Of one file, or the mean of several of one model.
  explicit Weights(const std::vector<std::string>& files);

  /// The numbers of a tensor, row-major. What is missing or of another shape is zeros here and an error in check().
  std::vector<float> take(const std::string& name, const std::vector<int64_t>& shape);
  bool has(const std::string& name) const { return files_.front().find(name) != nullptr; }

  /// After all were taken: throws Error with the names of those that are missing, misfits, or left over.
  void check() const;

 private:
  std::vector<std::string> paths_;
  std::vector<io::SafetensorsFile> files_;
  std::map<std::string, bool> taken_;
  std::vector<std::string> missing_, misfits_;
};

}  // namespace seqmill::infer
