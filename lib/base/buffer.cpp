#include "base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace seqmill {

void* allocate_buffer(std::size_t bytes) {
  constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
  void* buffer = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!buffer && bytes > 0) throw std::bad_alloc();
  if (alignment == kHugePage) madvise(buffer, bytes, MADV_HUGEPAGE);  // refused, it is as before
  return buffer;
}

void free_buffer(void* buffer) { std::free(buffer); }

}  // namespace seqmill
