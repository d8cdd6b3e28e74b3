#include "infer/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::infer {
namespace {

void narrow(const void* doubles, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    double number;
    std::memcpy(&number, static_cast<const char*>(doubles) + static_cast<size_t>(i) * sizeof number, sizeof number);
    out[i] = static_cast<float>(number);
  }
}

bool is_float(io::DType dtype) {
  return dtype == io::DType::kF32 || dtype == io::DType::kF64 || dtype == io::DType::kF16 || dtype == io::DType::kBF16;
}

Numbers numbers(const io::TensorRecord& record) {
  const bool aligned = reinterpret_cast<uintptr_t>(record.data) % alignof(float) == 0;
  if (record.dtype == io::DType::kF32 && aligned) return Numbers(static_cast<const float*>(record.data));
  const int64_t count = record.bytes() / io::size_of(record.dtype);
  Buffer<float> out(count);
  const auto widen = [&](kernel::NumberType type) { kernel::packed_kernels().widen(record.data, type, count, out.data()); };
  switch (record.dtype) {
    case io::DType::kF32: widen(kernel::NumberType::kFloat32); break;
    case io::DType::kF16: widen(kernel::NumberType::kFloat16); break;
    case io::DType::kBF16: widen(kernel::NumberType::kBFloat16); break;
    default: narrow(record.data, count, out.data());
  }
  return Numbers(std::move(out));
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace

Weights::Weights(const std::vector<std::string>& files, bool to_bfloat16, Use use) : to_bfloat16_(to_bfloat16), use_(use), paths_(files) {
  for (const std::string& path : files) files_.emplace_back(path);
  check_format();
}

Weights::Weights(std::vector<io::TensorRecord> in_memory, bool to_bfloat16) : to_bfloat16_(to_bfloat16), use_(Use::kCompute), paths_{"the model in training"} {
  files_.emplace_back(std::move(in_memory));
}

void Weights::check_format() const {
  const auto is_integer = [](const io::TensorRecord& record) { return record.dtype == io::DType::kI8 || record.dtype == io::DType::kI16; };
  const std::vector<io::TensorRecord>& tensors = files_.front().tensors();
  if (std::none_of(tensors.begin(), tensors.end(), is_integer)) return;
  const std::string format = metadata("format"), mode = metadata("mode");
  if (format != "seqmill-int8" || (mode != "dynamic" && mode != "scale-propagation")) {
    fail("{} holds integers of format '{}' and mode '{}', where 'seqmill-int8' and 'dynamic' or 'scale-propagation' are known: make it anew with "
         "int8-quantize", paths_.front(), format, mode);
  }
}

std::string Weights::metadata(const std::string& key) const {
  const auto found = files_.front().metadata().find(key);
  return found == files_.front().metadata().end() ? "" : found->second;
}

std::string Weights::integer_mode() const { return metadata("format") == "seqmill-int8" ? metadata("mode") : ""; }

void Weights::refuse_mode(const std::string& what) const {
  fail("{} is a model of integers of mode {}, which is for {}; its configuration says something else", paths_.front(), integer_mode(), what);
}

Numbers Weights::take(const std::string& name, const std::vector<int64_t>& shape) {
  taken_.insert(name);
  std::vector<Numbers> found;
  for (size_t i = 0; i < files_.size(); ++i) {
    const io::TensorRecord* record = files_[i].find(name);
    const std::string where = files_.size() == 1 ? name : paths_[i] + ": " + name;
    if (!record) {
      missing_.push_back(where);
    } else if (!is_float(record->dtype)) {
      misfits_.push_back(fmt::format("{}: type {} where a floating-point type is needed", where, io::name_of(record->dtype)));
    } else if (record->shape != shape) {
      misfits_.push_back(fmt::format("{}: shape {} where {} is needed", where, shape_text(record->shape), shape_text(shape)));
    } else {
      found.push_back(numbers(*record));
    }
  }
  constexpr size_t kMostComplaints = 1000;
  if (missing_.size() + misfits_.size() > kMostComplaints) check_fit();
  if (found.size() < files_.size()) return Numbers(nullptr);
  if (files_.size() == 1) return std::move(found[0]);
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  Buffer<float> mean(count);
  for (int64_t k = 0; k < count; ++k) {
    double sum = 0;
    for (const Numbers& one : found) sum += static_cast<double>(one.data()[k]);
    mean.data()[k] = static_cast<float>(sum / static_cast<double>(found.size()));
  }
  return Numbers(std::move(mean));
}

MatrixRows Weights::take_rows(const std::string& name, int64_t outputs, int64_t inputs) {
  const io::TensorRecord* record = files_.size() == 1 ? files_.front().find(name) : nullptr;
  if (record && record->shape == std::vector<int64_t>{outputs, inputs}) {
    const auto in_file = [&](kernel::NumberType type) {
      taken_.insert(name);
      return MatrixRows{{record->data, type, outputs}, {}};
    };
    if (record->dtype == io::DType::kF32) return in_file(kernel::NumberType::kFloat32);
    if (record->dtype == io::DType::kF16) return in_file(kernel::NumberType::kFloat16);
    if (record->dtype == io::DType::kBF16) return in_file(kernel::NumberType::kBFloat16);
  }
  Numbers numbers = take(name, {outputs, inputs});
  const float* data = numbers.data();
  return {{data, kernel::NumberType::kFloat32, outputs}, std::move(numbers).own()};
}

void Weights::release(const std::string& name) const {
  for (const io::WeightFiles& file : files_) {
    if (file.in_memory()) continue;  // nothing could bring them back
    if (const io::TensorRecord* record = file.find(name)) io::release_pages(*record);
  }
}

void Weights::take_copy(const std::string& name, const std::string& original) {
  const io::TensorRecord* record = files_.front().find(name);
  if (record && io::same_numbers(*record, files_.front().find(original))) taken_.insert(name);
}

std::vector<float> Weights::take_vector(const std::string& name, int64_t size) {
  const Numbers found = take(name, {size});
  return found.data() ? std::vector<float>(found.data(), found.data() + size) : std::vector<float>();
}

bool Weights::is_int8(const std::string& name) const {
  const io::TensorRecord* record = files_.front().find(name);
  return record && record->dtype == io::DType::kI8;
}

Int8Numbers Weights::take_int8(const std::string& name, int64_t outputs, int64_t inputs) {
  if (files_.size() > 1) fail("{}: 8-bit weights have no mean; take that of the float32 model and quantise it", paths_.front());
  taken_.insert(name);
  Int8Numbers numbers{nullptr, take_vector(name + ".scale", outputs)};
  const io::TensorRecord* record = files_.front().find(name);
  const std::vector<int64_t> shape{outputs, inputs};
  if (record->shape != shape) misfits_.push_back(fmt::format("{}: shape {} where {} is needed", name, shape_text(record->shape), shape_text(shape)));
  if (record->shape != shape || numbers.scales.empty()) return numbers;
  numbers.data = static_cast<const int8_t*>(record->data);
  check_scales(name, numbers.scales);
  if (const void* found = std::memchr(numbers.data, 0x80, static_cast<size_t>(outputs * inputs))) {
    fail("{}: {} holds -128 at {}, outside the symmetric range", paths_.front(), name, static_cast<const int8_t*>(found) - numbers.data);
  }
  return numbers;
}

void Weights::check_scales(const std::string& name, const std::vector<float>& scales) const {
  for (size_t o = 0; o < scales.size(); ++o) {
    if (scales[o] > 0 && std::isfinite(scales[o]) && std::isfinite(1 / scales[o])) continue;
    fail("{}: {}.scale[{}] is {}, which is no scale: it must be positive and finite", paths_.front(), name, o, scales[o]);
  }
}

namespace {

/// The first number beyond the limit, or -1.
template <typename Number>
int64_t find_beyond(const void* data, int64_t count, int64_t limit) {
  if (sizeof(Number) == 1 && limit == 127) {  // much the faster way to find -128
    const void* found = std::memchr(data, 0x80, static_cast<size_t>(count));
    return found ? static_cast<const char*>(found) - static_cast<const char*>(data) : -1;
  }
  const char* from = static_cast<const char*>(data);
  for (int64_t i = 0; i < count; ++i) {
    Number number;
    std::memcpy(&number, from + static_cast<size_t>(i) * sizeof number, sizeof number);
    if (number > limit || number < -limit) return i;
  }
  return -1;
}

}  // namespace

ScaledIntegers Weights::take_integers(const std::string& name, const std::vector<io::DType>& types, const std::vector<int64_t>& shape, int64_t scales,
                                      int64_t limit) {
  if (files_.size() > 1) fail("{}: integer weights have no mean; take that of the float32 model and quantise it", paths_.front());
  taken_.insert(name);
  ScaledIntegers integers;
  const io::TensorRecord* record = files_.front().find(name);
  if (!record) {
    missing_.push_back(name);
    taken_.insert(name + ".scale");
    return integers;
  }
  integers.scales = take_vector(name + ".scale", scales);
  integers.dtype = record->dtype;
  if (std::find(types.begin(), types.end(), record->dtype) == types.end()) {
    misfits_.push_back(fmt::format("{}: type {} where {} is needed", name, io::name_of(record->dtype), io::name_of(types.front())));
  } else if (record->shape != shape) {
    misfits_.push_back(fmt::format("{}: shape {} where {} is needed", name, shape_text(record->shape), shape_text(shape)));
  } else if (!integers.scales.empty()) {
    check_scales(name, integers.scales);
    const int64_t count = record->bytes() / io::size_of(record->dtype);
    const int64_t beyond = record->dtype == io::DType::kI8    ? find_beyond<int8_t>(record->data, count, limit)
                           : record->dtype == io::DType::kI16 ? find_beyond<int16_t>(record->data, count, limit)
                                                              : find_beyond<int32_t>(record->data, count, limit);
    if (beyond >= 0) fail("{}: {} holds a number beyond {} at {}", paths_.front(), name, limit, beyond);
    integers.data = record->data;
  }
  return integers;
}

void Weights::refuse(const std::vector<std::string>& unexpected) const {
  std::string message = paths_.front() + " does not fit the model that its configuration describes";
  if (!missing_.empty()) message += "; missing: " + join(missing_, ", ");
  if (!unexpected.empty()) message += "; unexpected: " + join(unexpected, ", ");
  if (!misfits_.empty()) message += "; " + join(misfits_, "; ");
  throw Error(message);
}

void Weights::check_fit() const {
  if (!fit()) refuse({});
}

void Weights::check() const {
  std::vector<std::string> unexpected;
  for (const io::TensorRecord& record : files_.front().tensors()) {
    if (!taken_.count(record.name) && !io::belongs_to_training(record.name)) unexpected.push_back(record.name);
  }
  if (!fit() || !unexpected.empty()) refuse(unexpected);
}

}  // namespace seqmill::infer
