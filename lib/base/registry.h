#pragma once
// A table of named factories that fills itself: each implementation holds, at the bottom of its own file,
//   static const Registration<MyFactory> registered{"name", {...}};
// Registered names are part of file formats: kebab-case, and never given a second meaning.

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill {

/// `Entry` must have a static member `const char* kind()` naming what is registered ("model type"), for error messages.
template <typename Entry>
class Registry {
 public:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }

  void add(const std::string& name, Entry entry) {
    if (!entries_.emplace(name, std::move(entry)).second) {
      throw Error(fmt::format("{} '{}' is registered twice", Entry::kind(), name));
    }
  }

  /// Unknown names are usage errors (exit 2) that show the nearest known name and all of them.
  const Entry& get(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found != entries_.end()) return found->second;
    const std::string guess = nearest(name, names());
    fail_usage("unknown {} '{}'{}; known: {}", Entry::kind(), name,
               guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess), join(names(), ", "));
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }

 private:
  std::map<std::string, Entry> entries_;
};

template <typename Entry>
struct Registration {
  Registration(const std::string& name, Entry entry) { Registry<Entry>::instance().add(name, std::move(entry)); }
};

}  // namespace seqmill
