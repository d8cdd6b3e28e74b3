#include "base/plugin.h"

#include <dlfcn.h>

#include "base/error.h"

namespace seqmill {
namespace {

std::string path_beside_us(const std::string& library) {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&path_beside_us), &info) == 0 || !info.dli_fname) return library;
  const std::string self = info.dli_fname;
  const size_t slash = self.rfind('/');
  return slash == std::string::npos ? library : self.substr(0, slash + 1) + library;
}

}  // namespace

void* plugin_symbol(const std::string& library, const char* symbol, int flags, const std::string& advice) {
  const std::string path = path_beside_us(library);
  void* handle = dlopen(path.c_str(), flags);
  if (!handle) fail("cannot load {}: {}; {}", path, dlerror(), advice);
  void* found = dlsym(handle, symbol);
  if (!found) fail("{} is not seqmill's: {}", path, dlerror());
  return found;
}

}  // namespace seqmill
