#pragma once
// A model's trainable tensors, by name, in the order they were declared. Layers ask a Scope for theirs, so that names follow the structure
// of the model ("encoder.0.attention.qkv.weight") and loading a file needs no glue.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace seqmill::nn {

/// How a parameter starts.
struct Init {
  enum Kind { kUniform, kNormal, kConstant } kind = kConstant;
  double scale = 0;  ///< half width, standard deviation, or the value
  static Init xavier(int64_t inputs, int64_t outputs);  ///< Glorot & Bengio, 2010, eq. 16
  static Init normal(double deviation) { return {kNormal, deviation}; }
  static Init constant(double value) { return {kConstant, value}; }
};

/// What the rows of a tensor stand for. A row that stands for a piece means nothing under another vocabulary.
enum class Rows { kOther, kSourcePieces, kTargetPieces };

struct Parameter {
  std::string name;
  at::Tensor value;
  bool decays = false;  ///< belongs to the weight decay group: matrices, but no biases, norms or embeddings
  Rows rows = Rows::kOther;
};

class Parameters {
 public:
  /// Without a seed the values are left as they are found in memory, for those who bring their own.
  explicit Parameters(std::optional<uint64_t> seed) : seed_(seed) {}
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  /// Initial values depend on the seed and the name alone, not on what else was declared.
  at::Tensor add(const std::string& name, std::vector<int64_t> shape, Init init, bool decays, Rows rows = Rows::kOther);
  const std::vector<Parameter>& all() const { return all_; }
  int64_t count() const;  ///< numbers, not tensors

  /// Moves every value into one contiguous vector and gives each a gradient in a second one, so that an optimiser step is one pass.
  /// Tensors handed out before stay valid. Call once, before training.
  void flatten();
  /// The same with the values of `other`, which are flattened: both are one memory from here on, with two vectors of gradients. Throws Error unless
  /// the names and shapes are the same. Call once, instead of flatten().
  void share(const Parameters& other);
  at::Tensor flat_values() const { return flat_values_; }
  at::Tensor flat_gradients() const { return flat_gradients_; }

  void to(at::Device device, at::ScalarType type = at::kFloat);

 private:
  void place_in(const at::Tensor& values);

  std::optional<uint64_t> seed_;
  std::vector<Parameter> all_;
  at::Tensor flat_values_, flat_gradients_;
};

class Scope {
 public:
  explicit Scope(Parameters& parameters, std::string prefix = "") : parameters_(&parameters), prefix_(std::move(prefix)) {}
  Scope operator/(const std::string& name) const { return Scope(*parameters_, prefix_ + name + "."); }
  at::Tensor matrix(const std::string& name, int64_t rows, int64_t columns, Rows kind = Rows::kOther) const;  ///< Xavier, decays
  at::Tensor parameter(const std::string& name, std::vector<int64_t> shape, Init init, Rows kind = Rows::kOther) const;

 private:
  Parameters* parameters_;
  std::string prefix_;
};

}  // namespace seqmill::nn
