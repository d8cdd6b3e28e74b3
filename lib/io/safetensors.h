#pragma once
// Weights on disk in the safetensors container of Hugging Face (format 0.x): 8 bytes little-endian header length, a JSON
// header {name: {dtype, shape, data_offsets}, "__metadata__": {string: string}}, then the tensors' bytes without gaps. Readers check
// everything against the file's size before they trust or allocate anything.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace seqmill::io {

enum class DType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };

int64_t size_of(DType dtype);
const char* name_of(DType dtype);  ///< as in the file: "F32"

struct TensorRecord {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const void* data = nullptr;  ///< little-endian, row-major; in a file of others perhaps not aligned to the element size
  int64_t bytes() const;       ///< size_of(dtype) times the product of the shape
};

/// Maps a file; `data` pointers live as long as this object.
class SafetensorsFile {
 public:
  /// Throws Error naming the file, the tensor and the byte: too short, header length past the file's end or past 100 MB, not JSON,
  /// unknown dtype, negative or overflowing shape, offsets that differ from shape x dtype, overlap, leave gaps or leave the file.
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  const std::vector<TensorRecord>& tensors() const;  ///< in file order
  const TensorRecord* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What only a training needs that a checkpoint belongs to, and whoever else reads it passes over: the value head of PPO.
bool belongs_to_training(const std::string& tensor);
constexpr const char *kValueWeight = "value_head.weight", *kValueBias = "value_head.bias";

/// Whether both are there and hold the same bytes in the same shape and type.
bool same_numbers(const TensorRecord& a, const TensorRecord* b);

/// The tensors of one model: of one file, of several that an index names (Hugging Face's model.safetensors.index.json), or of no file.
class WeightFiles {
 public:
  /// `path`: a safetensors file, or an index: JSON with "weight_map" {tensor: file beside it}. Throws Error for what SafetensorsFile refuses, for files of the index that
  /// are missing (all of them named), and for tensors that their file does not hold, or holds besides those of the index.
  explicit WeightFiles(const std::string& path);
  /// Tensors in memory, which outlive this object. Names must be unique.
  explicit WeightFiles(std::vector<TensorRecord> in_memory);

  const std::vector<TensorRecord>& tensors() const { return tensors_; }
  const TensorRecord* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }  ///< of the first file
  bool in_memory() const { return files_.empty(); }

 private:
  void read_index(const std::string& path);

  std::vector<SafetensorsFile> files_;
  std::vector<TensorRecord> tensors_;
  std::map<std::string, size_t> places_;  ///< in tensors_
  std::map<std::string, std::string> metadata_;
};

/// The pages of a mapped file that hold a tensor need not be in memory until they are read again.
void release_pages(const TensorRecord& tensor);

/// Writes the file at `path` (checked, fsynced, not atomic: callers write into a temporary directory or name). Names must be unique.
/// The header is padded with spaces so that the data starts at a multiple of 64 bytes; tensors of wider elements come first,
/// otherwise in the order given, so that each is aligned to its element size.
void write_safetensors(const std::string& path, const std::vector<TensorRecord>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace seqmill::io
