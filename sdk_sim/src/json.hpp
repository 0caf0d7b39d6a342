// Writing JSON: a member goes behind whatever the open object or array holds already.
#pragma once

#include <concepts>
#include <cstdio>
#include <string>

namespace rigi::json {

/// A comma, unless the text ends with an opening bracket or a colon.
inline void separate(std::string& out) {
  if (!out.empty() && out.back() != '{' && out.back() != '[' && out.back() != ':') out += ',';
}

inline void key(std::string& out, const char* name) {
  separate(out);
  out += '"';
  out += name;
  out += "\":";
}

template <std::integral Integer>
void append(std::string& out, Integer value) {
  separate(out);
  out += std::to_string(value);
}

/// UTF-8 stays as it is.
inline void append(std::string& out, const std::string& text) {
  separate(out);
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
  out += '"';
}

inline void append(std::string& out, double value) {
  separate(out);
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.9g", value);
  out += digits;
}

template <typename Value>
void field(std::string& out, const char* name, const Value& value) {
  key(out, name);
  append(out, value);
}

}  // namespace rigi::json
