#pragma once
// Memory for numbers: not initialised, aligned to cache lines. Large ones ask for huge pages, which are taken from the kernel 512 times faster than
// small ones and spare the address translation.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace seqmill {

/// Throws std::bad_alloc, also for a negative count and for more bytes than can be counted.
void* allocate_buffer(int64_t count, std::size_t size);
void free_buffer(void* buffer);

template <typename Number>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) : size_(size), numbers_(static_cast<Number*>(allocate_buffer(size, sizeof(Number)))) {}
  Buffer(Buffer&& other) noexcept : size_(std::exchange(other.size_, 0)), numbers_(std::move(other.numbers_)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    size_ = std::exchange(other.size_, 0);
    numbers_ = std::move(other.numbers_);
    return *this;
  }

  Number* data() { return numbers_.get(); }
  const Number* data() const { return numbers_.get(); }
  int64_t size() const { return size_; }

  /// At least so many numbers; what was there is lost when there were fewer.
  Number* room_for(int64_t size) {
    if (size_ < size) {
      *this = Buffer();  // first, so that both are never there
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
