#include "io/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "io/descriptor.h"
#include "io/json.h"

namespace seqmill::io {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kAlignment = 64;
constexpr const char* kMetadata = "__metadata__";

struct DTypeInfo {
  DType dtype;
  const char* name;
  int64_t size;
};

constexpr DTypeInfo kDTypes[] = {
    {DType::kF64, "F64", 8}, {DType::kF32, "F32", 4},   {DType::kF16, "F16", 2}, {DType::kBF16, "BF16", 2},
    {DType::kI64, "I64", 8}, {DType::kI32, "I32", 4},   {DType::kI16, "I16", 2}, {DType::kI8, "I8", 1},
    {DType::kU8, "U8", 1},   {DType::kBool, "BOOL", 1},
};

const DTypeInfo& info_of(DType dtype) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.dtype == dtype) return info;
  }
  fail("unknown element type {}", static_cast<int>(dtype));
}

uint64_t load_little_endian(const unsigned char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = (value << 8) | bytes[i];
  return value;
}

// The bytes that a tensor of this type and shape takes; false when that is no non-negative int64.
bool count_bytes(DType dtype, const std::vector<int64_t>& shape, int64_t& bytes) {
  bytes = size_of(dtype);
  bool overflow = false;
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return false;
    // An empty tensor is empty whatever its other extents are, yet these must not overflow either.
    empty = empty || extent == 0;
    overflow = overflow || __builtin_mul_overflow(bytes, std::max<int64_t>(1, extent), &bytes);
  }
  if (empty) bytes = 0;
  return !overflow;
}

// One entry of the header, with its place among the data bytes.
struct Entry {
  TensorRecord record;
  int64_t begin = 0;
  int64_t end = 0;
};

class HeaderReader {
 public:
  HeaderReader(const std::string& path, int64_t data_bytes) : path_(path), data_bytes_(data_bytes) {}

  void read(const Json& header) {
    if (!header.is_object()) fail("{}: the header is {}, expected an object", path_, header.type_name());
    for (const auto& [name, value] : header.as_object()) {
      if (name == kMetadata) {
        read_metadata(value);
      } else {
        entries.push_back(read_entry(name, value));
      }
    }
    check_layout();
  }

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

 private:
  template <typename... Args>
  [[noreturn]] void fail_tensor(const std::string& name, fmt::format_string<Args...> format,
                                Args&&... args) const {
    fail("{}: tensor \"{}\": {}", path_, name.substr(0, 200), fmt::format(format, std::forward<Args>(args)...));
  }

  void read_metadata(const Json& value) {
    if (!value.is_object())
      fail("{}: {} is {}, expected an object of strings", path_, kMetadata, value.type_name());
    for (const auto& [key, text] : value.as_object()) {
      if (!text.is_string()) {
        fail("{}: {}: \"{}\" is {}, expected a string", path_, kMetadata, key.substr(0, 200), text.type_name());
      }
      metadata.emplace(key, text.as_string());
    }
  }

  const Json& field(const std::string& name, const Json& value, const char* key) const {
    const Json* found = value.find(key);
    if (!found) fail_tensor(name, "has no {}", key);
    return *found;
  }

  DType read_dtype(const std::string& name, const Json& value) const {
    if (!value.is_string()) fail_tensor(name, "dtype is {}, expected a string", value.type_name());
    for (const DTypeInfo& info : kDTypes) {
      if (value.as_string() == info.name) return info.dtype;
    }
    fail_tensor(name, "dtype is '{}', expected F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL",
                value.as_string().substr(0, 40));
  }

  std::vector<int64_t> read_integers(const std::string& name, const Json& value, const char* key) const {
    if (!value.is_array()) fail_tensor(name, "{} is {}, expected an array", key, value.type_name());
    std::vector<int64_t> numbers;
    for (const Json& item : value.as_array()) {
      if (!item.is_int()) fail_tensor(name, "{} holds {}, expected integers", key, item.type_name());
      if (item.as_int() < 0) fail_tensor(name, "{} holds {}, expected nothing below 0", key, item.as_int());
      numbers.push_back(item.as_int());
    }
    return numbers;
  }

  Entry read_entry(const std::string& name, const Json& value) const {
    if (!value.is_object()) fail_tensor(name, "is {}, expected an object", value.type_name());
    if (value.as_object().size() != 3) {
      fail_tensor(name, "has {} fields, expected dtype, shape and data_offsets", value.as_object().size());
    }
    Entry entry;
    entry.record.name = name;
    entry.record.dtype = read_dtype(name, field(name, value, "dtype"));
    entry.record.shape = read_integers(name, field(name, value, "shape"), "shape");
    const std::vector<int64_t> offsets = read_integers(name, field(name, value, "data_offsets"), "data_offsets");
    if (offsets.size() != 2) fail_tensor(name, "data_offsets holds {} numbers, expected 2", offsets.size());
    entry.begin = offsets[0];
    entry.end = offsets[1];
    check_entry(entry);
    return entry;
  }

  void check_entry(const Entry& entry) const {
    const std::string& name = entry.record.name;
    if (entry.begin > entry.end)
      fail_tensor(name, "its data end at byte {}, before their begin at {}", entry.end, entry.begin);
    if (entry.end > data_bytes_) {
      fail_tensor(name, "its data reach to byte {}, but the file holds {} bytes of data; it may be truncated",
                  entry.end, data_bytes_);
    }
    int64_t bytes = 0;
    if (!count_bytes(entry.record.dtype, entry.record.shape, bytes))
      fail_tensor(name, "its shape overflows 64 bits");
    if (bytes != entry.end - entry.begin) {
      fail_tensor(name, "its data take {} bytes, expected {} for its dtype and shape", entry.end - entry.begin,
                  bytes);
    }
  }

  // In the order of their data, tensors must follow each other without overlap or gap, from the first data byte to
  // the last.
  void check_layout() {
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    int64_t expected = 0;
    for (const Entry& entry : entries) {
      if (entry.begin < expected) {
        fail_tensor(entry.record.name, "its data begin at byte {} and overlap the tensor before, which ends at {}",
                    entry.begin, expected);
      }
      if (entry.begin > expected) {
        fail_tensor(entry.record.name, "its data begin at byte {} and leave a gap from {}", entry.begin, expected);
      }
      expected = entry.end;
    }
    if (expected != data_bytes_) {
      fail("{}: the tensors end at byte {} of the data, but the file holds {} bytes of data", path_, expected,
           data_bytes_);
    }
  }

  const std::string& path_;
  int64_t data_bytes_;
};

class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const Descriptor descriptor = open_for_reading(path);
    struct stat status {};
    if (::fstat(descriptor.get(), &status) != 0) fail_errno("cannot read " + path);
    if (!S_ISREG(status.st_mode)) fail("cannot map {}: it is no regular file", path);
    size_ = static_cast<uint64_t>(status.st_size);
    if (size_ < kLengthBytes) {
      fail("{}: has {} bytes, expected a safetensors file, which begins with the 8 bytes of its header's length",
           path, size_);
    }
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
    if (mapped == MAP_FAILED) fail_errno("cannot map " + path);
    bytes_ = static_cast<const unsigned char*>(mapped);
  }
  ~Mapping() { ::munmap(const_cast<unsigned char*>(bytes_), size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const unsigned char* bytes() const { return bytes_; }
  uint64_t size() const { return size_; }

 private:
  const unsigned char* bytes_ = nullptr;
  uint64_t size_ = 0;
};

uint64_t header_length(const Mapping& mapping, const std::string& path) {
  const uint64_t length = load_little_endian(mapping.bytes());
  const uint64_t rest = mapping.size() - kLengthBytes;
  if (length > rest) {
    fail(
        "{}: the first 8 bytes give a header of {} bytes, but only {} follow; the file is truncated or no "
        "safetensors file",
        path, length, rest);
  }
  if (length > kMaxHeaderBytes)
    fail("{}: the header has {} bytes, at most {} are accepted", path, length, kMaxHeaderBytes);
  if (length == 0 || mapping.bytes()[kLengthBytes] != '{') {
    fail("{}: byte 8 is not '{{', expected the JSON header of a safetensors file", path);
  }
  return length;
}

std::string build_header(const std::vector<const TensorRecord*>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json texts = Json::object();
    for (const auto& [key, text] : metadata) texts.as_object().emplace_back(key, text);
    header.as_object().emplace_back(kMetadata, std::move(texts));
  }
  int64_t offset = 0;
  for (const TensorRecord* tensor : tensors) {
    Json entry = Json::object();
    entry.set("dtype", name_of(tensor->dtype));
    entry.set("shape", Json::list(tensor->shape));
    entry.set("data_offsets", JsonArray{Json(offset), Json(offset + tensor->bytes())});
    offset += tensor->bytes();
    header.as_object().emplace_back(tensor->name, std::move(entry));
  }
  std::string text = header.dump();
  text.append((kAlignment - (kLengthBytes + text.size()) % kAlignment) % kAlignment, ' ');
  return text;
}

void check_names(const std::string& path, const std::vector<TensorRecord>& tensors) {
  std::unordered_set<std::string> names;
  for (const TensorRecord& tensor : tensors) {
    if (tensor.name == kMetadata) fail("{}: no tensor may be named {}", path, kMetadata);
    if (!names.insert(tensor.name).second) fail("{}: two tensors are named \"{}\"", path, tensor.name);
  }
}

}  // namespace

int64_t size_of(DType dtype) { return info_of(dtype).size; }
const char* name_of(DType dtype) { return info_of(dtype).name; }

int64_t TensorRecord::bytes() const {
  int64_t bytes = 0;
  if (!count_bytes(dtype, shape, bytes)) fail("tensor \"{}\": its shape is negative or overflows 64 bits", name);
  return bytes;
}

struct SafetensorsFile::State {
  Mapping mapping;
  std::vector<TensorRecord> tensors;
  std::unordered_map<std::string, size_t> index;
  std::map<std::string, std::string> metadata;

  explicit State(const std::string& path) : mapping(path) {
    const uint64_t length = header_length(mapping, path);
    const std::string_view text(reinterpret_cast<const char*>(mapping.bytes() + kLengthBytes), length);
    const unsigned char* data = mapping.bytes() + kLengthBytes + length;
    HeaderReader reader(path, static_cast<int64_t>(mapping.size() - kLengthBytes - length));
    reader.read(parse_json(text, path + ": header"));
    metadata = std::move(reader.metadata);
    for (Entry& entry : reader.entries) {
      entry.record.data = data + entry.begin;
      index.emplace(entry.record.name, tensors.size());
      tensors.push_back(std::move(entry.record));
    }
  }
};

SafetensorsFile::SafetensorsFile(const std::string& path) : state_(std::make_unique<State>(path)) {}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const std::vector<TensorRecord>& SafetensorsFile::tensors() const { return state_->tensors; }

const TensorRecord* SafetensorsFile::find(const std::string& name) const {
  const auto found = state_->index.find(name);
  return found == state_->index.end() ? nullptr : &state_->tensors[found->second];
}

const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return state_->metadata; }

void release_pages(const TensorRecord& tensor) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(tensor.data), end = begin + static_cast<uintptr_t>(tensor.bytes());
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;  // whole pages: others' numbers lie in the rest
  if (first < last) ::madvise(const_cast<char*>(static_cast<const char*>(tensor.data)) + (first - begin), last - first, MADV_DONTNEED);
}

void write_safetensors(const std::string& path, const std::vector<TensorRecord>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_names(path, tensors);
  // Wide elements first keeps each tensor aligned to its own element size, whatever their counts.
  std::vector<const TensorRecord*> order;
  for (const TensorRecord& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TensorRecord* a, const TensorRecord* b) {
    return size_of(a->dtype) > size_of(b->dtype);
  });
  const std::string header = build_header(order, metadata);
  if (header.size() > kMaxHeaderBytes)
    fail("cannot write {}: its header of {} bytes is too long", path, header.size());

  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.is_open()) fail_errno("cannot write " + path);
  std::string start(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) start[i] = static_cast<char>(header.size() >> (8 * i));
  write_all(file.get(), start + header, path);
  for (const TensorRecord* tensor : order) {
    write_all(file.get(), {static_cast<const char*>(tensor->data), static_cast<size_t>(tensor->bytes())}, path);
  }
  sync(file.get(), path);
  close_checked(file, path);
}

}  // namespace seqmill::io
