// The instruction trace: one JSON object a line, from which anyone can recompute the schedule.
#include <utility>

#include "../json.hpp"
#include "schedule.hpp"

namespace rigi {
namespace {

void append_spans(std::string& out, const char* key, const Span* spans, int count) {
  json::key(out, key);
  out += '[';
  for (int s = 0; s < count; ++s) {
    json::separate(out);
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
  using json::field;
  out += '{';
  field(out, "launch", launch);
  field(out, "kernel", kernel);
  field(out, "core", core);
  field(out, "phase", node.phase);
  field(out, "index", index);
  field(out, "engine", engine_name(node.engine));
  field(out, "op", node_op_name(node));
  json::key(out, "args");
  out += '{';
  switch (node.engine) {
    case Engine::Load:
    case Engine::Store:
      field(out, "bytes", uint64_t{node.rows} * node.cols);
      field(out, "rows", node.rows);
      field(out, "hbm_bytes", node.hbm_bytes);
      if (node.op == RIGI_LOAD_MULTICAST) {
        field(out, "group", std::to_string(multicast_key(core, node.fn, multicasts[node.fn]++)));
        json::key(out, "receivers");
        out += '[';
        for (const uint32_t receiver : receivers(core, node.fn)) json::append(out, receiver);
        out += ']';
      }
      break;
    case Engine::Matrix:
      field(out, "m", node.rows);
      field(out, "n", node.cols);
      field(out, "k", node.depth);
      field(out, "dtype", dtype_name(node.dtype));
      break;
    case Engine::Vector:
    case Engine::Act:
      field(out, "n", node.elements);
      field(out, "passes", node.passes);
      break;
    case Engine::Scalar:
      field(out, "block", node.busy);
      break;
    case Engine::Barrier:
      break;
  }
  out += '}';
  append_spans(out, "reads", node.spans, node.num_reads);
  append_spans(out, "writes", node.spans + node.num_reads, node.num_writes);
  json::key(out, "hbm");
  out += '[';
  if (node.hbm_bytes != 0 || (node.engine == Engine::Scalar && node.num_reads == 0)) {
    out += '[' + std::to_string(node.hbm - hbm_base) + ',' + std::to_string(node.cols) + ',' + std::to_string(node.rows) + ',' +
           std::to_string(node.hbm_stride) + ']';
  }
  out += ']';
  field(out, "issue", node.issue);
  field(out, "start", node.start);
  field(out, "end", node.end);
  field(out, "done", node.done);
  out += "}\n";
}

void Schedule::write_trace(OutputFile& file, uint64_t launch, const char* kernel, uint64_t hbm_base) {
  resolve();
  std::string out;
  int begun = 1;
  for (uint32_t core = 0; core < cores_.size(); ++core) {
    uint32_t multicasts[3] = {0, 0, 0};
    for (uint32_t index = 0; index < cores_[core].nodes.size(); ++index) {
      write_node(out, launch, kernel, core, index, cores_[core].nodes[index], hbm_base, multicasts);
      if (out.size() > (1U << 20)) {
        file.write(std::move(out), std::exchange(begun, 0));
        out.clear();
      }
    }
  }
  file.write(std::move(out), begun);
}

}  // namespace rigi
