#pragma once
// The weights of a model, by name, as an architecture asks for them.

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "io/safetensors.h"
#include "kernel/packed.h"

namespace seqmill::infer {

/// The numbers of a tensor, row-major: in the file, if they lie there as they are needed, or converted.
class Numbers {
 public:
  explicit Numbers(const float* in_file) : numbers_(in_file) {}
  explicit Numbers(Buffer<float> own) : own_(std::move(own)), numbers_(own_.data()) {}
  const float* data() const { return numbers_; }
  /// What was converted, which lives as long as that.
  Buffer<float> own() && { return std::move(own_); }

 private:
  Buffer<float> own_;
  const float* numbers_;
};

/// The rows of a matrix as they lie in the file, or converted.
struct MatrixRows {
  kernel::WeightRows rows;  ///< data is null if they are not there or do not fit
  Buffer<float> own;
};

/// A matrix of integers in [-127, 127] whose row o stands for the real numbers data / scales[o].
struct Int8Numbers {
  const int8_t* data;
  std::vector<float> scales;
};

/// Integers of some type and shape, and what they were scaled by.
struct ScaledIntegers {
  io::DType dtype = io::DType::kI8;
  const void* data = nullptr;  ///< null if they are not there or do not fit
  std::vector<float> scales;
};

class Weights {
 public:
  /// What they are taken for: a model that computes, or one that is there to find out whether they fit, whose matrices stay empty.
  enum class Use { kCompute, kCheck };

  /// Of one file, or the mean of several of one model.
  explicit Weights(const std::vector<std::string>& files, bool to_bfloat16 = false, Use use = Use::kCompute);

  /// In memory, as a training has them: float32, and not to be changed while a model is built of them.
  explicit Weights(std::vector<io::TensorRecord> in_memory, bool to_bfloat16 = false);

  /// Those of the first file.
  const std::vector<io::TensorRecord>& tensors() const { return files_.front().tensors(); }

  /// Whether the first file has a tensor.
  bool has(const std::string& name) const { return files_.front().find(name) != nullptr; }

  /// Whether matrices of real numbers are to be used in bfloat16.
  bool rounds_to_bfloat16() const { return to_bfloat16_; }
  /// Whether matrices are to be laid out.
  bool lays_out() const { return use_ == Use::kCompute && fit(); }

  /// A matrix; valid as long as this object. What is missing or of another shape is nothing here (data() is null) and an error in check().
  Numbers take(const std::string& name, const std::vector<int64_t>& shape);
  /// A tensor that may be there, and is not needed, because it must be equal to another: else it is one that is left over.
  void take_copy(const std::string& name, const std::string& original);
  /// The same as it lies in the file, where matrices can be laid out from that.
  MatrixRows take_rows(const std::string& name, int64_t outputs, int64_t inputs);
  /// The memory that a tensor's file takes is the system's again: what was copied is not read twice. It can be, still.
  void release(const std::string& name) const;
  /// A copy, for what is small; empty if it does not fit.
  std::vector<float> take_vector(const std::string& name, int64_t size);
  /// Whether a tensor holds 8-bit integers.
  bool is_int8(const std::string& name) const;
  /// Those and `name`.scale [outputs]. Throws Error for integers of -128, for scales that are not positive and finite, and for the mean of several files.
  Int8Numbers take_int8(const std::string& name, int64_t outputs, int64_t inputs);

  /// How a model of integers is to be computed, as its file says: "dynamic" (8-bit matrices, real numbers between) or "scale-propagation" (integers
  /// throughout); "" for a model of real numbers.
  std::string integer_mode() const;
  /// An entry of the file's metadata; "" when it is not there.
  std::string metadata(const std::string& key) const;
  /// Integers of one of these types with `name`.scale [scales]. Throws Error for numbers beyond `limit` in magnitude and for what take_int8() refuses.
  ScaledIntegers take_integers(const std::string& name, const std::vector<io::DType>& types, const std::vector<int64_t>& shape, int64_t scales, int64_t limit);
  /// Throws Error: such a mode is for `what`.
  [[noreturn]] void refuse_mode(const std::string& what) const;

  /// Whether all that was taken so far was there and of the shape that was asked for.
  bool fit() const { return missing_.empty() && misfits_.empty(); }
  /// Throws Error with the names of those that were not.
  void check_fit() const;
  /// After all were taken: those that are left over are an error too.
  void check() const;

 private:
  /// What a tensor of 8-bit integers must come with.
  void check_format() const;
  void check_scales(const std::string& name, const std::vector<float>& scales) const;
  [[noreturn]] void refuse(const std::vector<std::string>& unexpected) const;

  bool to_bfloat16_;
  Use use_;
  std::vector<std::string> paths_;
  std::vector<io::WeightFiles> files_;
  std::set<std::string> taken_;
  std::vector<std::string> missing_, misfits_;
};

}  // namespace seqmill::infer
