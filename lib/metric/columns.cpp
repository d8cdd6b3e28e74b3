#include "metric/columns.h"

#include <cmath>

#include "base/error.h"
#include "base/strings.h"
#include "io/json.h"
#include "io/line_reader.h"

namespace seqmill::metric {
namespace {

// Calls `use(fields, where)` for each line; `where` is "file:line".
template <typename Use>
void for_each_line(const std::string& path, Use use) {
  io::LineReader reader(path);
  std::string line;
  while (reader.next(line)) use(line, fmt::format("{}:{}", reader.name(), reader.line_number()));
  if (reader.line_number() == 0) fail("{}: the file is empty", reader.name());
}

double number(const std::string& field, int column, const std::string& where) {
  double value = 0;
  if (!parse_double(field, value) || !std::isfinite(value)) fail("{}: column {} is not a number: '{}'", where, column, field);
  return value;
}

PassRecord pass_record(const io::Json& json, const std::string& where) {
  if (!json.is_object()) fail("{}: expected an object, found {}", where, json.type_name());
  const io::Json* results = json.find("results");
  if (results == nullptr) {
    const io::Json *n = json.find("n"), *c = json.find("c");
    if (n == nullptr || c == nullptr) fail("{}: expected \"n\" and \"c\", or \"results\"", where);
    if (!n->is_int() || !c->is_int()) fail("{}: \"n\" and \"c\" must be integers", where);
    return {n->as_int(), c->as_int()};
  }
  if (!results->is_array()) fail("{}: \"results\" must be an array, found {}", where, results->type_name());
  PassRecord record{static_cast<int64_t>(results->as_array().size()), 0};
  for (const io::Json& result : results->as_array()) {
    if (result.is_bool()) {
      record.c += result.as_bool();
    } else if (result.is_int() && (result.as_int() == 0 || result.as_int() == 1)) {
      record.c += result.as_int();
    } else {
      fail("{}: \"results\" must hold true and false, or 1 and 0; found {}", where, result.dump());
    }
  }
  return record;
}

}  // namespace

NumberColumns read_number_columns(const std::string& path) {
  NumberColumns columns;
  size_t expected = 0;
  for_each_line(path, [&](const std::string& line, const std::string& where) {
    const std::vector<std::string> fields = split(line, '\t');
    if (fields.size() < 2 || fields.size() > 3) {
      fail("{}: expected two numbers and perhaps a group, separated by tabs; found {} column{}", where, fields.size(),
           fields.size() == 1 ? "" : "s");
    }
    if (expected == 0) expected = fields.size();
    if (fields.size() != expected) fail("{}: {} columns, but {} in the lines before", where, fields.size(), expected);
    columns.x.push_back(number(fields[0], 1, where));
    columns.y.push_back(number(fields[1], 2, where));
    if (fields.size() == 3) columns.groups.push_back(fields[2]);
  });
  return columns;
}

LabelColumns read_label_columns(const std::string& path) {
  LabelColumns columns;
  for_each_line(path, [&](const std::string& line, const std::string& where) {
    const std::vector<std::string> fields = split(line, '\t');
    if (fields.size() != 2) {
      fail("{}: expected two labels separated by a tab, found {} column{}", where, fields.size(),
           fields.size() == 1 ? "" : "s");
    }
    if (fields[0].empty() || fields[1].empty()) fail("{}: a label is empty", where);
    columns.a.push_back(fields[0]);
    columns.b.push_back(fields[1]);
  });
  return columns;
}

std::vector<PassRecord> read_pass_records(const std::string& path) {
  std::vector<PassRecord> records;
  for_each_line(path, [&](const std::string& line, const std::string& where) {
    const PassRecord record = pass_record(io::parse_json(line, where), where);
    if (record.n < 1) fail("{}: no samples", where);
    if (record.c < 0 || record.c > record.n) fail("{}: expected 0 <= c <= n, found c = {}, n = {}", where, record.c, record.n);
    records.push_back(record);
  });
  return records;
}

}  // namespace seqmill::metric
