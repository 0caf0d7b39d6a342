#include "findings.hpp"

#include <cstdio>

namespace rigi {

std::string describe(const Site& site) {
  return "core " + std::to_string(site.core) + ", phase " + std::to_string(site.phase) + ", instruction " + std::to_string(site.index) +
         " (" + site.op + ")";
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

void Findings::add(const std::string& kernel, const std::vector<Finding>& found) {
  const std::lock_guard lock(mutex_);
  for (const Finding& f : found) {
    if (json_.size() == kMost) return;
    json_.push_back("{\"kind\":" + json_string(f.kind) + ",\"kernel\":" + json_string(kernel) + ",\"core\":" + std::to_string(f.site.core) +
                    ",\"phase\":" + std::to_string(f.site.phase) + ",\"instruction\":" + std::to_string(f.site.index) +
                    ",\"op\":" + json_string(f.site.op) + ",\"operand\":" + json_string(f.operand) +
                    ",\"line\":" + std::to_string(f.site.line) + ",\"text\":" + json_string(f.text) + "}");
  }
}

std::string Findings::take() {
  std::vector<std::string> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(json_);
  }
  std::string out = "[";
  for (const std::string& json : taken) out += (out.size() > 1 ? "," : "") + json;
  return out + "]";
}

}  // namespace rigi
