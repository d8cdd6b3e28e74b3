#pragma once
// The weights of a model, by name, as an architecture asks for them.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "io/safetensors.h"

namespace seqmill::infer {

/// The numbers of a tensor, row-major: in the file, if they lie there as they are needed, or converted.
class Numbers {
 public:
  explicit Numbers(const float* in_file) : numbers_(in_file) {}
  explicit Numbers(Buffer<float> own) : own_(std::move(own)), numbers_(own_.data()) {}
  const float* data() const { return numbers_; }

 private:
  Buffer<float> own_;
  const float* numbers_;
};

class Weights {
 public:
  /// Of one file, or the mean of several of one model.
  explicit Weights(const std::vector<std::string>& files);

  /// A matrix; valid as long as this object. What is missing or of another shape is zeros here and an error in check().
  Numbers take(const std::string& name, const std::vector<int64_t>& shape);
  /// A copy, for what is small.
  std::vector<float> take_vector(const std::string& name, int64_t size);
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
