// The instruction trace: one JSON object a line, from which anyone can recompute the schedule.
#include <cinttypes>

#include "schedule.hpp"

namespace rigi {
namespace {

void append_spans(std::string& out, const char* key, const Span* spans, int count) {
  out += ",\"" + std::string(key) + "\":[";
  for (int s = 0; s < count; ++s) {
    if (s != 0) out += ',';
    out += '[' + std::to_string(spans[s].addr) + ',' + std::to_string(spans[s].row_bytes) + ',' + std::to_string(spans[s].rows) + ',' +
           std::to_string(spans[s].stride) + ']';
  }
  out += ']';
}

std::string node_op_name(const Node& node) {
  if (node.engine == Engine::Barrier) return "barrier";
  if (node.engine == Engine::Scalar) return node.num_reads == 0 ? "scalar_load" : "scalar_read";
  return op_name(node.op);
}

}  // namespace

void Schedule::write_node(std::string& out, uint64_t launch, const char* kernel, uint32_t core, uint32_t index, const Node& node,
                          uint64_t hbm_base, uint32_t multicasts[3]) const {
  out += "{\"launch\":" + std::to_string(launch) + ",\"kernel\":\"" + kernel + "\",\"core\":" + std::to_string(core) +
         ",\"phase\":" + std::to_string(node.phase) + ",\"index\":" + std::to_string(index) + ",\"engine\":\"" + engine_name(node.engine) +
         "\",\"op\":\"" + node_op_name(node) + "\",\"args\":{";
  const auto field = [&](const char* name, uint64_t value, bool first = false) {
    out += std::string(first ? "\"" : ",\"") + name + "\":" + std::to_string(value);
  };
  switch (node.engine) {
    case Engine::Load:
    case Engine::Store:
      field("bytes", uint64_t{node.rows} * node.cols, true);
      field("rows", node.rows);
      field("hbm_bytes", node.hbm_bytes);
      if (node.op == RIGI_LOAD_MULTICAST) {
        out += ",\"group\":\"" + std::to_string(multicast_key(core, node.fn, multicasts[node.fn]++)) + "\",\"receivers\":[";
        const std::vector<uint32_t> group = receivers(core, node.fn);
        for (size_t g = 0; g < group.size(); ++g) out += (g == 0 ? "" : ",") + std::to_string(group[g]);
        out += ']';
      }
      break;
    case Engine::Matrix:
      field("m", node.rows, true);
      field("n", node.cols);
      field("k", node.depth);
      out += std::string(",\"dtype\":\"") + dtype_name(node.dtype) + '"';
      break;
    case Engine::Vector:
    case Engine::Act:
      field("n", node.elements, true);
      field("passes", node.passes);
      break;
    case Engine::Scalar:
      field("block", node.busy, true);
      break;
    case Engine::Barrier:
      break;
  }
  out += '}';
  append_spans(out, "reads", node.spans, node.num_reads);
  append_spans(out, "writes", node.spans + node.num_reads, node.num_writes);
  if (node.hbm_bytes != 0 || (node.engine == Engine::Scalar && node.num_reads == 0)) {
    const uint64_t offset = node.hbm - hbm_base;
    out += ",\"hbm\":[[" + std::to_string(offset) + ',' + std::to_string(node.cols) + ',' + std::to_string(node.rows) + ',' +
           std::to_string(node.hbm_stride) + "]]";
  } else {
    out += ",\"hbm\":[]";
  }
  field("issue", node.issue);
  field("start", node.start);
  field("end", node.end);
  field("done", node.done);
  out += "}\n";
}

void Schedule::write_trace(std::FILE* file, uint64_t launch, const char* kernel, uint64_t hbm_base) const {
  std::string out;
  for (uint32_t core = 0; core < cores_.size(); ++core) {
    uint32_t multicasts[3] = {0, 0, 0};
    for (uint32_t index = 0; index < cores_[core].nodes.size(); ++index) {
      write_node(out, launch, kernel, core, index, cores_[core].nodes[index], hbm_base, multicasts);
      if (out.size() > (1U << 20)) {
        std::fwrite(out.data(), 1, out.size(), file);
        out.clear();
      }
    }
  }
  std::fwrite(out.data(), 1, out.size(), file);
}

}  // namespace rigi
