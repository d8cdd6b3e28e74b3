#include "tensor/weights.h"

#include <cstring>
#include <set>

#include "base/error.h"
#include "base/strings.h"
#include "io/safetensors.h"

namespace seqmill::tensor {
namespace {

constexpr std::pair<at::ScalarType, io::DType> kTypes[] = {
    {at::kDouble, io::DType::kF64}, {at::kFloat, io::DType::kF32}, {at::kHalf, io::DType::kF16},
    {at::kBFloat16, io::DType::kBF16}, {at::kLong, io::DType::kI64}, {at::kInt, io::DType::kI32},
    {at::kShort, io::DType::kI16}, {at::kChar, io::DType::kI8}, {at::kByte, io::DType::kU8}, {at::kBool, io::DType::kBool}};

io::DType to_dtype(at::ScalarType type) {
  for (const auto& [scalar, dtype] : kTypes) {
    if (scalar == type) return dtype;
  }
  fail("tensors of type {} cannot be stored as safetensors", at::toString(type));
}

at::ScalarType to_scalar(io::DType dtype) {
  for (const auto& [scalar, known] : kTypes) {
    if (known == dtype) return scalar;
  }
  fail("unknown tensor type");
}

at::Tensor view_of(const io::TensorRecord& record) {
  return at::from_blob(const_cast<void*>(record.data), record.shape, at::TensorOptions(to_scalar(record.dtype)));
}

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", ")); }

/// "" when the record fits the target, else why not.
std::string misfit(const io::TensorRecord& record, const at::Tensor& target) {
  const at::ScalarType type = to_scalar(record.dtype);
  if (at::isFloatingType(type) != at::isFloatingType(target.scalar_type())) {
    return fmt::format("type {} where {} is needed", io::name_of(record.dtype), at::toString(target.scalar_type()));
  }
  if (target.sizes() == at::IntArrayRef(record.shape)) return "";
  return fmt::format("shape {} where {} is needed", shape_text(record.shape), shape_text(target.sizes()));
}

bool is_copy(const io::WeightFiles& file, const io::TensorRecord& record, const std::map<std::string, std::string>& copies) {
  const auto original = copies.find(record.name);
  return original != copies.end() && io::same_numbers(record, file.find(original->second));
}

void copy(const io::TensorRecord& record, const at::Tensor& target) {
  at::NoGradGuard no_grad;
  at::Tensor into = target;
  into.copy_(view_of(record));
}

}  // namespace

InMemory in_memory(const std::vector<NamedTensor>& tensors) {
  InMemory all;
  for (const auto& [name, tensor] : tensors) {
    all.tensors.push_back(tensor.detach().to(at::kCPU).contiguous());
    io::TensorRecord record;
    record.name = name;
    record.dtype = to_dtype(tensor.scalar_type());
    record.shape = tensor.sizes().vec();
    record.data = all.tensors.back().data_ptr();
    all.records.push_back(record);
  }
  return all;
}

void save_tensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                  const std::map<std::string, std::string>& metadata) {
  io::write_safetensors(path, in_memory(tensors).records, metadata);
}

std::vector<NamedTensor> load_tensors(const std::string& path) {
  const io::SafetensorsFile file(path);
  std::vector<NamedTensor> tensors;
  for (const io::TensorRecord& record : file.tensors()) tensors.emplace_back(record.name, view_of(record).clone());
  return tensors;
}

void load_into(const std::string& path, const std::vector<NamedTensor>& targets, const std::map<std::string, std::string>& copies) {
  const io::WeightFiles file(path);
  std::vector<std::string> missing, misfits, unexpected;
  std::set<std::string> known;
  for (const auto& [name, target] : targets) {
    known.insert(name);
    const io::TensorRecord* record = file.find(name);
    if (!record) {
      missing.push_back(name);
    } else if (const std::string why = misfit(*record, target); !why.empty()) {
      misfits.push_back(fmt::format("{}: {}", name, why));
    }
  }
  for (const io::TensorRecord& record : file.tensors()) {
    if (!known.count(record.name) && !io::belongs_to_training(record.name) && !is_copy(file, record, copies)) unexpected.push_back(record.name);
  }
  if (!missing.empty() || !misfits.empty() || !unexpected.empty()) {
    std::string message = path + " does not fit the model that its configuration describes";
    if (!missing.empty()) message += "; missing: " + join(missing, ", ");
    if (!unexpected.empty()) message += "; unexpected: " + join(unexpected, ", ");
    if (!misfits.empty()) message += "; " + join(misfits, "; ");
    throw Error(message);
  }
  for (const auto& [name, target] : targets) copy(*file.find(name), target);
}

PartialLoad load_matching(const std::string& path, const std::vector<NamedTensor>& targets, const std::map<std::string, std::string>& copies) {
  const io::WeightFiles file(path);
  PartialLoad result;
  std::set<std::string> known;
  for (const auto& [name, target] : targets) {
    known.insert(name);
    const io::TensorRecord* record = file.find(name);
    const std::string why = record ? misfit(*record, target) : "not in the file";
    if (why.empty()) {
      copy(*record, target);
      result.taken.push_back(name);
    } else {
      result.not_taken.push_back(name + ": " + why);
    }
  }
  for (const io::TensorRecord& record : file.tensors()) {
    if (!known.count(record.name) && !io::belongs_to_training(record.name) && !is_copy(file, record, copies)) result.not_taken.push_back(record.name + ": the model has no such tensor");
  }
  return result;
}

}  // namespace seqmill::tensor
