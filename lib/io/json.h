#pragma once
// JSON values and JSON lines. Objects keep the order of their keys, integers stay integers, and unknown fields survive a
// round trip, as records are carried from tool to tool.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace seqmill::io {

class Json;
using JsonArray = std::vector<Json>;
using JsonObject = std::vector<std::pair<std::string, Json>>;

class Json {
 public:
  Json() = default;  ///< null
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(static_cast<int64_t>(value)) {}
  Json(int64_t value) : value_(value) {}
  Json(uint64_t value) : value_(static_cast<int64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(JsonArray value) : value_(std::move(value)) {}
  Json(JsonObject value) : value_(std::move(value)) {}

  static Json object() { return Json(JsonObject{}); }
  static Json array() { return Json(JsonArray{}); }
  template <typename Container>
  static Json list(const Container& items) {
    JsonArray array;
    for (const auto& item : items) array.emplace_back(item);
    return Json(std::move(array));
  }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<JsonArray>(value_); }
  bool is_object() const { return std::holds_alternative<JsonObject>(value_); }

  /// Typed access; a wrong type throws Error: "expected an integer, found a string".
  bool as_bool() const;
  int64_t as_int() const;
  double as_double() const;  ///< integers too
  const std::string& as_string() const;
  const JsonArray& as_array() const;
  JsonArray& as_array();
  const JsonObject& as_object() const;
  JsonObject& as_object();

  /// The member `key` of an object, or nullptr.
  const Json* find(std::string_view key) const;
  /// The member `key`; a missing one throws Error naming it.
  const Json& at(std::string_view key) const;
  /// Appends the member or replaces its value; a null Json becomes an object first.
  Json& set(std::string key, Json value);
  void push_back(Json value);

  /// "null", "a string", "an integer", ... for messages.
  const char* type_name() const;

  /// One line, UTF-8 as it is, the shortest digits that read back equal. NaN and infinities become null.
  std::string dump() const;
  /// With line breaks and two spaces of indent.
  std::string dump_pretty() const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, JsonArray, JsonObject> value_;
};

/// Integers that do not fit in 64 bits: an error, or the nearest double, for files of others in which they say "no limit".
enum class LargeIntegers { kRefuse, kRound };

/// Parses one JSON text. Duplicate keys, trailing text, invalid UTF-8 and nesting past 256 levels are errors. `where` ("file.jsonl:12")
/// opens the message.
Json parse_json(std::string_view text, const std::string& where, LargeIntegers large = LargeIntegers::kRefuse);

/// A whole file that holds one JSON text.
Json read_json(const std::string& path, LargeIntegers large = LargeIntegers::kRefuse);

}  // namespace seqmill::io
