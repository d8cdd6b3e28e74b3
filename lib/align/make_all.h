#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/threads.h"

namespace seqmill::align {

/// make(i) for all items, which have a place, by all threads. An Error is that of the first item that has one, with its place.
template <typename Result, typename Item, typename Make>
std::vector<Result> make_all(const std::vector<Item>& items, Make make) {
  std::vector<Result> results(items.size());
  std::vector<std::exception_ptr> errors(items.size());
  parallel_for(static_cast<int64_t>(items.size()), 16, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      try {
        results[i] = make(i);
      } catch (const Error& error) {
        errors[i] = std::make_exception_ptr(Error(fmt::format("{}: {}", items[i].place, error.what()), error.exit_code()));
      }
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return results;
}

}  // namespace seqmill::align
