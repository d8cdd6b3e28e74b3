#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <ctime>
#include <mutex>

#include "base/error.h"

namespace seqmill::log {
namespace {

std::mutex mutex;
Level current_level = Level::kInfo;
bool color = false;
int copy_descriptor = -1;
bool status_shown = false;
std::string origin;

const char* label(Level level) {
  switch (level) {
    case Level::kDebug: return "debug: ";
    case Level::kWarning: return "warning: ";
    case Level::kError: return "error: ";
    default: return "";
  }
}

const char* color_of(Level level) {
  switch (level) {
    case Level::kDebug: return "\033[2m";
    case Level::kWarning: return "\033[33m";
    case Level::kError: return "\033[31m";
    default: return "";
  }
}

std::string timestamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  const size_t size = std::strftime(text, sizeof text, "[%Y-%m-%d %H:%M:%S] ", &parts);
  return std::string(text, size);
}

// A log that cannot be written must not stop the work it describes: failures are ignored here and nowhere else.
void put(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void clear_status() {
  if (status_shown) put(STDERR_FILENO, "\r\033[K");
  status_shown = false;
}

}  // namespace

bool parse_level(std::string_view name, Level& level) {
  static constexpr std::pair<std::string_view, Level> kNames[] = {{"debug", Level::kDebug},
                                                                  {"info", Level::kInfo},
                                                                  {"warning", Level::kWarning},
                                                                  {"error", Level::kError},
                                                                  {"off", Level::kOff}};
  for (const auto& [known, value] : kNames) {
    if (known == name) {
      level = value;
      return true;
    }
  }
  return false;
}

void set_level(Level level) { current_level = level; }
Level level() { return current_level; }
void set_color(bool enabled) { color = enabled; }
void set_origin(const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex);
  origin = text;
}

void open_copy(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (copy_descriptor >= 0) ::close(copy_descriptor);
  copy_descriptor = -1;
  if (path.empty()) return;
  copy_descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (copy_descriptor < 0) fail_errno("cannot open the log " + path);
}

void write(Level level, std::string_view message) {
  if (level < current_level) return;
  const std::lock_guard<std::mutex> lock(mutex);
  const std::string time = timestamp();
  clear_status();
  const std::string plain = fmt::format("{}{}{}{}\n", time, label(level), origin, message);
  if (color && *color_of(level)) {
    put(STDERR_FILENO, fmt::format("{}{}{}{}{}\033[0m\n", time, color_of(level), label(level), origin, message));
  } else {
    put(STDERR_FILENO, plain);
  }
  if (copy_descriptor >= 0) put(copy_descriptor, plain);
}

void status_line(std::string_view text) {
  const std::lock_guard<std::mutex> lock(mutex);
  clear_status();
  if (text.empty()) return;
  put(STDERR_FILENO, text);
  status_shown = true;
}

}  // namespace seqmill::log
