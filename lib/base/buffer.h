#pragma once
// Memory for numbers: not initialised, aligned to cache lines. Large ones ask for huge pages, which are taken from the kernel 512 times faster than
// small ones and spare the address translation.

#include <cstddef>
#include <cstdint>
#include <memory>

namespace seqmill {

/// Throws std::bad_alloc.
void* allocate_buffer(std::size_t bytes);
void free_buffer(void* buffer);

template <typename Number>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) : size_(size), numbers_(static_cast<Number*>(allocate_buffer(static_cast<std::size_t>(size) * sizeof(Number)))) {}

  Number* data() { return numbers_.get(); }
  const Number* data() const { return numbers_.get(); }
  int64_t size() const { return size_; }

  /// At least so many numbers; what was there is lost when there were fewer.
  Number* room_for(int64_t size) {
    if (size_ < size) {
      numbers_.reset();  // first, so that both are never there
      *this = Buffer(size + size / 4);
    }
    return data();
  }

 private:
  struct Free {
    void operator()(Number* numbers) const { free_buffer(numbers); }
  };
  int64_t size_ = 0;
  std::unique_ptr<Number, Free> numbers_;
};

}  // namespace seqmill
