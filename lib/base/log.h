#pragma once
// Messages for people, on stderr, and a copy of them in a run's log file. Thread-safe. Lines look like
// "[2026-01-31 12:00:00] warning: text"; colours only where `set_color` allowed them.

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace seqmill::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };

/// "debug", "info", "warning", "error" or "off"; returns false for anything else.
bool parse_level(std::string_view name, Level& level);
void set_level(Level level);
Level level();
void set_color(bool enabled);
/// Put before every message: "rank 1: ".
void set_origin(const std::string& origin);

/// From now on each message is also appended to this file (unbuffered, so that a killed run keeps its log). Throws if it
/// cannot be opened. An empty path closes the copy.
void open_copy(const std::string& path);

void write(Level level, std::string_view message);

/// A status line that is rewritten in place on a terminal; `write` clears it first. Empty text removes it.
void status_line(std::string_view text);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kDebug) write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kInfo) write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kWarning) write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kError) write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace seqmill::log
