#include "infer/weights.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::infer {
namespace {

float from_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value = exponent == 0    ? std::ldexp(static_cast<float>(fraction), -24)
                : exponent == 31 ? (fraction ? NAN : INFINITY)
                                 : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

float from_bfloat16(uint16_t upper) {
  const uint32_t bits = static_cast<uint32_t>(upper) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename Number, typename Convert>
void read(const void* data, std::vector<float>& out, Convert convert) {
  const char* from = static_cast<const char*>(data);
  for (size_t i = 0; i < out.size(); ++i) {
    Number number;
    std::memcpy(&number, from + i * sizeof number, sizeof number);
    out[i] = convert(number);
  }
}

bool is_float(io::DType dtype) {
  return dtype == io::DType::kF32 || dtype == io::DType::kF64 || dtype == io::DType::kF16 || dtype == io::DType::kBF16;
}

std::vector<float> numbers(const io::TensorRecord& record) {
  std::vector<float> out(static_cast<size_t>(record.bytes() / io::size_of(record.dtype)));
  switch (record.dtype) {
    case io::DType::kF32: std::memcpy(out.data(), record.data, out.size() * sizeof(float)); break;
    case io::DType::kF64: read<double>(record.data, out, [](double x) { return static_cast<float>(x); }); break;
    case io::DType::kF16: read<uint16_t>(record.data, out, from_half); break;
    default: read<uint16_t>(record.data, out, from_bfloat16);
  }
  return out;
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace

Weights::Weights(const std::vector<std::string>& files) : paths_(files) {
  for (const std::string& path : files) files_.emplace_back(path);
}

std::vector<float> Weights::take(const std::string& name, const std::vector<int64_t>& shape) {
  taken_[name] = true;
  size_t count = 1;
  for (const int64_t size : shape) count *= static_cast<size_t>(size);
  std::vector<double> sums;
  std::vector<float> values(count);
  for (size_t i = 0; i < files_.size(); ++i) {
    const io::TensorRecord* record = files_[i].find(name);
    const std::string where = files_.size() == 1 ? name : paths_[i] + ": " + name;
    if (!record) {
      missing_.push_back(where);
    } else if (!is_float(record->dtype)) {
      misfits_.push_back(fmt::format("{}: type {} where a floating-point type is needed", where, io::name_of(record->dtype)));
    } else if (record->shape != shape) {
      misfits_.push_back(fmt::format("{}: shape {} where {} is needed", where, shape_text(record->shape), shape_text(shape)));
    } else if (files_.size() == 1) {
      return numbers(*record);
    } else {
      const std::vector<float> more = numbers(*record);
      sums.resize(count);
      for (size_t k = 0; k < count; ++k) sums[k] += static_cast<double>(more[k]);
    }
  }
  for (size_t k = 0; k < sums.size(); ++k) values[k] = static_cast<float>(sums[k] / static_cast<double>(files_.size()));
  return values;
}

void Weights::check() const {
  std::vector<std::string> unexpected;
  for (const io::TensorRecord& record : files_.front().tensors()) {
    if (!taken_.count(record.name)) unexpected.push_back(record.name);
  }
  if (missing_.empty() && misfits_.empty() && unexpected.empty()) return;
  std::string message = paths_.front() + " does not fit the model its config.yaml describes";
  if (!missing_.empty()) message += "; missing: " + join(missing_, ", ");
  if (!unexpected.empty()) message += "; unexpected: " + join(unexpected, ", ");
  if (!misfits_.empty()) message += "; " + join(misfits_, "; ");
  throw Error(message);
}

}  // namespace seqmill::infer
