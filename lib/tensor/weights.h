#pragma once
// Named tensors to and from safetensors files.

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.h"

namespace seqmill::tensor {

using NamedTensor = std::pair<std::string, at::Tensor>;

/// Tensors as those see them who know no LibTorch.
struct InMemory {
  std::vector<at::Tensor> tensors;         ///< on the CPU, row-major: those given where they are that, else copies
  std::vector<io::TensorRecord> records;   ///< valid as long as those
};
InMemory in_memory(const std::vector<NamedTensor>& tensors);

/// Writes the tensors (any device; stored as they are typed, row-major).
void save_tensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                  const std::map<std::string, std::string>& metadata = {});

/// All tensors of a file, copied, on the CPU, in file order.
std::vector<NamedTensor> load_tensors(const std::string& path);

/// Copies the file's tensors into `targets` by name. Every name must be there with the same shape and nothing may be left over: else
/// Error listing what is missing, unexpected or of another shape. Floating types are converted. `copies`: names that may be there besides, each with the target that they must
/// be equal to.
void load_into(const std::string& path, const std::vector<NamedTensor>& targets, const std::map<std::string, std::string>& copies = {});

struct PartialLoad {
  std::vector<std::string> taken;
  std::vector<std::string> not_taken;  ///< "name: reason"
};
/// As load_into, but takes what fits and reports the rest.
PartialLoad load_matching(const std::string& path, const std::vector<NamedTensor>& targets, const std::map<std::string, std::string>& copies = {});

}  // namespace seqmill::tensor
