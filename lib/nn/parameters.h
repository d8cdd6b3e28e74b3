#pragma once
// A model's trainable tensors, by name, in the order they were declared. Layers ask a Scope for theirs, so that names follow the structure
// of the model ("encoder.0.attention.qkv.weight") and loading a file needs no glue.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
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

/// Rows of a parameter that files know under a name of their own.
struct Part {
  std::string name;
  int64_t rows = 0;
};

struct Parameter {
  std::string name;
  at::Tensor value;
  bool decays = false;  ///< belongs to the weight decay group: matrices, but no biases, norms or embeddings
  Rows rows = Rows::kOther;
  std::vector<Part> parts;  ///< one after another, of all rows; none: files know it as it is
};

class Parameters {
 public:
  /// Without a seed the values are left as they are found in memory, for those who bring their own.
  explicit Parameters(std::optional<uint64_t> seed) : seed_(seed) {}
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  /// Initial values depend on the seed and the name alone, not on what else was declared.
  at::Tensor add(const std::string& name, std::vector<int64_t> shape, Init init, bool decays, Rows rows = Rows::kOther);
  /// Several matrices (or vectors) of one width under one another, as one parameter `name`: the first dimension of `shape` is the sum of the parts' rows. Initial
  /// values depend on the names of the parts.
  at::Tensor add_joined(const std::string& name, std::vector<Part> parts, std::vector<int64_t> shape, Init init, bool decays);
  const std::vector<Parameter>& all() const { return all_; }
  int64_t count() const;  ///< numbers, not tensors

  /// Files may hold a copy of the parameter `original` under this name too: models of others that share a matrix.
  void allow_copy(const std::string& name, const std::string& original) { copies_[name] = original; }
  const std::map<std::string, std::string>& copies() const { return copies_; }

  /// What files hold: every parameter by its name, or by those of its parts. The tensors are views.
  std::vector<std::pair<std::string, at::Tensor>> named() const;
  std::vector<std::pair<std::string, at::Tensor>> named_trained() const;  ///< the same of those that are trained

  /// From here on only parameters with such names are trained; the others keep their values and have no gradients. Call before flatten().
  void train_only(const std::function<bool(const std::string& name)>& chosen);
  /// Those that are trained, in the order of the flat vectors.
  std::vector<Parameter> trained() const;
  std::vector<Parameter> fixed() const;  ///< the others

  /// Moves the values of all that is trained into one contiguous vector and gives each a gradient in a second one, so that an optimiser step is one pass.
  /// Tensors handed out before stay valid. Call once, before training.
  void flatten();
  /// The same with the values of `other`, which are flattened: both are one memory from here on, with two vectors of gradients. Throws Error unless
  /// the names and shapes are the same. Call once, instead of flatten().
  void share(const Parameters& other);
  at::Tensor flat_values() const { return flat_values_; }
  at::Tensor flat_gradients() const { return flat_gradients_; }

  void to(at::Device device, at::ScalarType type = at::kFloat);

 private:
  at::Tensor make(const std::string& name, const std::vector<int64_t>& shape) const;
  void place_in(const at::Tensor& values);

  std::optional<uint64_t> seed_;
  std::vector<Parameter> all_;
  std::map<std::string, std::string> copies_;
  at::Tensor flat_values_, flat_gradients_;
};

class Scope {
 public:
  explicit Scope(Parameters& parameters, std::string prefix = "") : parameters_(&parameters), prefix_(std::move(prefix)) {}
  Scope operator/(const std::string& name) const { return Scope(*parameters_, prefix_ + name + "."); }
  at::Tensor matrix(const std::string& name, int64_t rows, int64_t columns, Rows kind = Rows::kOther) const;  ///< Xavier, decays
  at::Tensor matrix(const std::string& name, int64_t rows, int64_t columns, Init init, Rows kind = Rows::kOther) const;  ///< decays
  /// Parts [rows, columns] each under the scope that its name says: "q_proj.weight".
  at::Tensor joined(const std::string& name, const std::vector<Part>& parts, int64_t columns, Init init) const;  ///< decays
  at::Tensor joined_vector(const std::string& name, const std::vector<Part>& parts, Init init) const;
  at::Tensor parameter(const std::string& name, std::vector<int64_t> shape, Init init, Rows kind = Rows::kOther) const;

 private:
  Parameters* parameters_;
  std::string prefix_;
};

}  // namespace seqmill::nn
