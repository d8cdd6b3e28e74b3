#include "base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace seqmill {

void* allocate_buffer(int64_t count, std::size_t size) {
  constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20, kMost = std::size_t{1} << 46;
  std::size_t bytes = 0;
  if (count < 0 || __builtin_mul_overflow(static_cast<std::size_t>(count), size, &bytes) || bytes > kMost) throw std::bad_alloc();
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
  void* buffer = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!buffer && bytes > 0) throw std::bad_alloc();
  if (alignment == kHugePage) madvise(buffer, bytes, MADV_HUGEPAGE);  // refused, it is as before
  return buffer;
}

void free_buffer(void* buffer) { std::free(buffer); }

}  // namespace seqmill
