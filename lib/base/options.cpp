#include "base/options.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill {

Option& Option::one_of(std::vector<std::string> choices) {
  choices_ = std::move(choices);
  return *this;
}

Option& Option::range(double low, double high) {
  low_ = low;
  high_ = high;
  return *this;
}

Option& Option::required() {
  required_ = true;
  return *this;
}

Option& Option::placeholder(std::string name) {
  placeholder_ = std::move(name);
  return *this;
}

Option& Option::flag(std::string name) {
  flag_ = std::move(name);
  return *this;
}

Option& Option::transient() {
  transient_ = true;
  return *this;
}

std::string Option::set(const std::vector<std::string>& values) {
  if (!is_list_ && values.size() != 1) return fmt::format("takes one value, found {}", values.size());
  for (const std::string& value : values) {
    if (find_invalid_utf8(value) != std::string::npos) return "is not valid UTF-8; file names too must be";
    if (!choices_.empty() && std::find(choices_.begin(), choices_.end(), value) == choices_.end()) {
      const std::string guess = nearest(value, choices_);
      return fmt::format("'{}' is not one of {}{}", value, join(choices_, ", "),
                         guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess));
    }
    double number = 0;
    if (is_number_ && parse_double(value, number) && (number < low_ || number > high_)) {
      return std::isinf(high_) ? fmt::format("{} is too small; the least value is {}", value, low_)
                               : fmt::format("{} is outside {}..{}", value, low_, high_);
    }
  }
  const std::string wrong = set_(values);
  if (wrong.empty()) given_ = true;
  return wrong;
}

Option& Options::insert(const std::string& key, const std::string& help, const char* placeholder) {
  if (find(key)) throw Error(fmt::format("option --{} is declared twice", key));
  options_.push_back(std::make_unique<Option>());
  Option& option = *options_.back();
  option.key_ = key;
  option.help_ = help;
  option.group_ = group_;
  option.placeholder_ = placeholder;
  return option;
}

Option& Options::add(const std::string& key, int64_t& field, const std::string& help) {
  Option& option = insert(key, help, "N");
  option.default_text_ = fmt::format("{}", field);
  option.is_number_ = true;
  option.set_ = [&field](const std::vector<std::string>& values) -> std::string {
    if (!parse_int(values[0], field)) return fmt::format("'{}' is not an integer", values[0]);
    return "";
  };
  option.get_ = [&field] { return std::vector<std::string>{fmt::format("{}", field)}; };
  return option;
}

Option& Options::add(const std::string& key, double& field, const std::string& help) {
  Option& option = insert(key, help, "X");
  option.default_text_ = format_double(field);
  option.is_number_ = true;
  option.set_ = [&field](const std::vector<std::string>& values) -> std::string {
    if (!parse_double(values[0], field)) return fmt::format("'{}' is not a finite number", values[0]);
    return "";
  };
  option.get_ = [&field] { return std::vector<std::string>{format_double(field)}; };
  return option;
}

Option& Options::add(const std::string& key, std::string& field, const std::string& help) {
  Option& option = insert(key, help, "TEXT");
  option.default_text_ = field;
  option.set_ = [&field](const std::vector<std::string>& values) -> std::string {
    field = values[0];
    return "";
  };
  option.get_ = [&field] { return std::vector<std::string>{field}; };
  return option;
}

Option& Options::add(const std::string& key, std::vector<std::string>& field, const std::string& help) {
  Option& option = insert(key, help, "TEXT");
  option.default_text_ = join(field, " ");
  option.is_list_ = true;
  option.set_ = [&field](const std::vector<std::string>& values) -> std::string {
    field = values;
    return "";
  };
  option.get_ = [&field] { return field; };
  return option;
}

Option& Options::add(const std::string& key, bool& field, const std::string& help) {
  Option& option = insert(key, help, "");
  option.default_text_ = field ? "true" : "false";
  option.is_flag_ = true;
  option.set_ = [&field](const std::vector<std::string>& values) -> std::string {
    if (values[0] != "true" && values[0] != "false") return fmt::format("'{}' is neither true nor false", values[0]);
    field = values[0] == "true";
    return "";
  };
  option.get_ = [&field] { return std::vector<std::string>{field ? "true" : "false"}; };
  return option;
}

std::string Options::preview(const std::string& key, const std::string& fallback) const {
  const auto found = previews_.find(key);
  return found == previews_.end() ? fallback : found->second;
}

Option* Options::find(const std::string& key) const {
  for (const auto& option : options_) {
    if (option->key() == key) return option.get();
  }
  return nullptr;
}

Option* Options::find_flag(const std::string& name) const {
  for (const auto& option : options_) {
    if (option->flag_name() == name) return option.get();
  }
  return nullptr;
}

}  // namespace seqmill
