#include "io/json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/error.h"
#include "base/strings.h"
#include "io/line_reader.h"

namespace seqmill::io {
namespace {

constexpr size_t kMaxDepth = 256;
constexpr size_t kFewKeys = 16;  // up to here a linear search for a duplicate beats a set

[[noreturn]] void fail_type(const char* expected, const Json& found) {
  fail("expected {}, found {}", expected, found.type_name());
}

// nlohmann's parser calls this for each token and keeps no stack of its own that hostile nesting could exhaust.
// Building our own values keeps the order of keys, tells integers from other numbers, and sees duplicate keys.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(const std::string& where, LargeIntegers large) : where_(where), large_(large) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(number_integer_t value) override { return add(Json(static_cast<int64_t>(value))); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) return add_large_integer(static_cast<double>(value), fmt::format("{}", value));
    return add(Json(static_cast<int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    // An integer past 64 bits arrives here too; as a double it would lose digits without a word.
    if (text.find_first_of(".eE") == std::string::npos) return add_large_integer(value, text);
    return add(Json(value));
  }
  bool string(string_t& value) override { return add(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Level& level = levels_.back();
    if (!add_name(level, name)) fail("{}: the key \"{}\" stands twice in one object", where_, excerpt(name, 100));
    level.value->as_object().emplace_back(std::move(name), nullptr);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: what we want to say"
    std::string reason = error.what();
    if (const size_t end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
    if (const size_t end = reason.find(": "); starts_with(reason, "parse error at") && end != std::string::npos) {
      reason.erase(0, end + 2);
    }
    fail("{}: not valid JSON at byte {}: {}", where_, position, excerpt(reason, 200));
  }

 private:
  struct Level {
    Json* value;
    std::unordered_set<std::string> names;  // filled once there are more than a few
  };

  bool add_large_integer(double value, const std::string& digits) {
    if (large_ == LargeIntegers::kRound) return add(Json(value));
    fail("{}: the integer {} does not fit in 64 bits; write it as a string", where_, excerpt(digits, 40));
  }

  static bool add_name(Level& level, const std::string& name) {
    const JsonObject& members = level.value->as_object();
    if (members.size() < kFewKeys) {
      return std::none_of(members.begin(), members.end(),
                          [&](const auto& member) { return member.first == name; });
    }
    if (level.names.empty()) {
      for (const auto& member : members) level.names.insert(member.first);
    }
    return level.names.insert(name).second;
  }

  // Pointers into parents stay valid: a container grows only while it is the innermost open one.
  Json* place(Json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *levels_.back().value;
    if (parent.is_array()) {
      parent.as_array().push_back(std::move(value));
      return &parent.as_array().back();
    }
    Json& slot = parent.as_object().back().second;
    slot = std::move(value);
    return &slot;
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (levels_.size() == kMaxDepth) fail("{}: nested deeper than {} levels", where_, kMaxDepth);
    levels_.push_back({place(std::move(container)), {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  const std::string& where_;
  LargeIntegers large_;
  Json root_;
  std::vector<Level> levels_;
};

void dump_string(const std::string& text, std::string& out) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

// JSON is UTF-8 by definition: bytes that are not become U+FFFD, so that every line we write can be read.
std::string replace_invalid(std::string text) {
  size_t from = 0;
  for (;;) {
    const size_t bad = find_invalid_utf8(std::string_view(text).substr(from));
    if (bad == std::string_view::npos) return text;
    text.replace(from + bad, 1, "\xEF\xBF\xBD");
    from += bad + 3;
  }
}

void dump_text(const std::string& text, std::string& out) {
  if (find_invalid_utf8(text) == std::string_view::npos) {
    dump_string(text, out);
  } else {
    dump_string(replace_invalid(text), out);
  }
}

void dump_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  const std::string digits = format_double(value);
  out += digits;
  if (digits.find_first_of(".e") == std::string::npos) out += ".0";  // so that it is read back as no integer
}

class Writer {
 public:
  explicit Writer(bool pretty) : pretty_(pretty) {}

  void value(const Json& json, std::string& out) {
    if (json.is_null()) {
      out += "null";
    } else if (json.is_bool()) {
      out += json.as_bool() ? "true" : "false";
    } else if (json.is_int()) {
      out += fmt::format_int(json.as_int()).c_str();
    } else if (json.is_number()) {
      dump_double(json.as_double(), out);
    } else if (json.is_string()) {
      dump_text(json.as_string(), out);
    } else if (json.is_array()) {
      list('[', ']', json.as_array(), out, [&](const Json& item) { value(item, out); });
    } else {
      list('{', '}', json.as_object(), out, [&](const auto& member) {
        dump_text(member.first, out);
        out += pretty_ ? ": " : ":";
        value(member.second, out);
      });
    }
  }

 private:
  template <typename Items, typename WriteItem>
  void list(char opening, char closing, const Items& items, std::string& out, WriteItem write_item) {
    out += opening;
    ++depth_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out += ',';
      first = false;
      line_break(out);
      write_item(item);
    }
    --depth_;
    if (!items.empty()) line_break(out);
    out += closing;
  }

  void line_break(std::string& out) const {
    if (pretty_) out.append("\n").append(2 * depth_, ' ');
  }

  bool pretty_;
  size_t depth_ = 0;
};

}  // namespace

bool Json::as_bool() const {
  if (!is_bool()) fail_type("true or false", *this);
  return std::get<bool>(value_);
}

int64_t Json::as_int() const {
  if (!is_int()) fail_type("an integer", *this);
  return std::get<int64_t>(value_);
}

double Json::as_double() const {
  if (is_int()) return static_cast<double>(std::get<int64_t>(value_));
  if (!is_number()) fail_type("a number", *this);
  return std::get<double>(value_);
}

const std::string& Json::as_string() const {
  if (!is_string()) fail_type("a string", *this);
  return std::get<std::string>(value_);
}

const JsonArray& Json::as_array() const {
  if (!is_array()) fail_type("an array", *this);
  return std::get<JsonArray>(value_);
}

JsonArray& Json::as_array() {
  if (!is_array()) fail_type("an array", *this);
  return std::get<JsonArray>(value_);
}

const JsonObject& Json::as_object() const {
  if (!is_object()) fail_type("an object", *this);
  return std::get<JsonObject>(value_);
}

JsonObject& Json::as_object() {
  if (!is_object()) fail_type("an object", *this);
  return std::get<JsonObject>(value_);
}

const Json* Json::find(std::string_view key) const {
  for (const auto& [name, value] : as_object()) {
    if (name == key) return &value;
  }
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* found = find(key);
  if (!found) fail("the field \"{}\" is missing", key);
  return *found;
}

Json& Json::set(std::string key, Json value) {
  if (is_null()) value_ = JsonObject{};
  for (auto& [name, old] : as_object()) {
    if (name == key) {
      old = std::move(value);
      return old;
    }
  }
  return as_object().emplace_back(std::move(key), std::move(value)).second;
}

void Json::push_back(Json value) {
  if (is_null()) value_ = JsonArray{};
  as_array().push_back(std::move(value));
}

const char* Json::type_name() const {
  static constexpr const char* kNames[] = {"null",     "true or false", "an integer", "a number",
                                           "a string", "an array",      "an object"};
  return kNames[value_.index()];
}

std::string Json::dump() const {
  std::string out;
  Writer(false).value(*this, out);
  return out;
}

std::string Json::dump_pretty() const {
  std::string out;
  Writer(true).value(*this, out);
  return out;
}

Json parse_json(std::string_view text, const std::string& where, LargeIntegers large) {
  // The lexer takes a NUL for the end of its input, and quotes what it could not read in its messages.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    fail("{}: not valid JSON at byte {}: found NUL", where, nul + 1);
  }
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    fail("{}: byte {} (0x{:02X}) is not valid UTF-8, expected JSON in UTF-8", where, bad + 1,
         static_cast<unsigned char>(text[bad]));
  }
  Builder builder(where, large);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json read_json(const std::string& path, LargeIntegers large) { return parse_json(read_file(path), path, large); }

}  // namespace seqmill::io
