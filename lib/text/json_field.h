#pragma once
// A place within a JSON file that knows what it is called, for files whose errors must name the field.

#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "io/json.h"

namespace seqmill::text {

/// The value must outlive it. Wrong types throw Error "<place>: expected a string, found an array".
class JsonField {
 public:
  JsonField(const io::Json& json, std::string place) : json_(&json), place_(std::move(place)) {}

  const io::Json& json() const { return *json_; }
  const std::string& place() const { return place_; }

  /// A member of an object; an absent one and null are none.
  std::optional<JsonField> find(const std::string& key) const {
    const io::Json* found = get([&] { return json_->find(key); });
    if (!found || found->is_null()) return std::nullopt;
    return JsonField(*found, place_ + (place_.find(": ") == std::string::npos ? ": " : ".") + key);
  }
  JsonField at(const std::string& key) const {
    const auto found = find(key);
    if (!found) seqmill::fail("{}: the field \"{}\" is missing", place_, key);
    return *found;
  }
  size_t size() const {
    return get([&] { return json_->as_array().size(); });
  }
  JsonField item(size_t index) const {
    return JsonField(get([&]() -> const io::Json& { return json_->as_array().at(index); }), fmt::format("{}[{}]", place_, index));
  }

  const std::string& string() const {
    return get([&]() -> const std::string& { return json_->as_string(); });
  }
  bool boolean() const {
    return get([&] { return json_->as_bool(); });
  }
  int64_t integer() const {
    return get([&] { return json_->as_int(); });
  }
  const io::JsonObject& object() const {
    return get([&]() -> const io::JsonObject& { return json_->as_object(); });
  }
  bool flag(const std::string& key, bool otherwise) const {
    const auto found = find(key);
    return found ? found->boolean() : otherwise;
  }

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    seqmill::fail("{}: {}", place_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  template <typename Work>
  auto get(Work work) const -> decltype(work()) {
    try {
      return work();
    } catch (const Error& error) {
      throw Error(place_ + ": " + error.what(), error.exit_code());
    }
  }

  const io::Json* json_;
  std::string place_;
};

}  // namespace seqmill::text
