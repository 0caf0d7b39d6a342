#include "findings.hpp"

#include "../json.hpp"

namespace rigi {

std::string describe(const Site& site) {
  return "core " + std::to_string(site.core) + ", phase " + std::to_string(site.phase) + ", instruction " + std::to_string(site.index) +
         " (" + site.op + ")";
}

void Findings::add(const std::string& kernel, const std::vector<Finding>& found) {
  const std::lock_guard lock(mutex_);
  for (const Finding& f : found) {
    if (json_.size() == kMost) return;
    std::string& out = json_.emplace_back("{");
    json::field(out, "kind", std::string(f.kind));
    json::field(out, "kernel", kernel);
    json::field(out, "core", f.site.core);
    json::field(out, "phase", f.site.phase);
    json::field(out, "instruction", f.site.index);
    json::field(out, "op", std::string(f.site.op));
    json::field(out, "operand", std::string(f.operand));
    json::field(out, "line", f.site.line);
    json::field(out, "text", f.text);
    out += '}';
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
