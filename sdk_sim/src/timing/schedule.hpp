// When everything happens: the timing rules of the chip manual, applied to the instructions of one launch.
//
// The cores' programs are recorded while they run (add, scalar_load, scalar_read, barrier) and resolved afterwards by finish().
// Recording is on the path of every instruction, so it only copies and hashes; a launch whose programs were seen before, which
// is what serving mostly consists of, takes its cycles from memory. Resolution is a discrete-event simulation with one shared resource,
// HBM. All else follows from a core's own past, so each core is carried forward, barriers included, until nothing more can be known without
// an HBM grant; then the request with the smallest (start, core, index) is granted. That order is the server's: whatever is still unknown
// depends on an ungranted request and therefore starts later than it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "../output_file.hpp"
#include "access.hpp"

namespace rigi {

/// One recorded instruction and, once resolved, its four times (cycles from the launch).
struct Node {
  Engine engine;
  uint8_t op, fn, dtype;
  uint8_t num_reads, num_writes;
  uint16_t phase;
  uint64_t busy;
  uint32_t latency;
  uint32_t rows, cols, depth;
  uint32_t passes;
  uint64_t elements;  // vector and activation engines
  uint64_t hbm_bytes;  // padded; 0 without HBM
  uint64_t hbm;
  int64_t hbm_stride;
  Span spans[5];  // reads, then writes
  uint32_t read_lo, read_hi, write_lo, write_hi;
  bool resolved;
  uint64_t issue, start, end, done;
};

class Schedule {
 public:
  explicit Schedule(const Chip& chip);

  /// Forgets the last launch. `launch_cost` is when the sequencers start, in cycles from the launch.
  void begin(uint32_t launch_cost);
  /// Records the next instruction of a core. Safe from several threads for different cores.
  void add(int core, const rigi_instr& instr);
  void scalar_load(int core, uint64_t hbm, uint32_t bytes);
  void scalar_read(int core, uint32_t sram, uint32_t bytes);
  /// What a core has issued since begin(), scalars and barriers as instructions of no opcode.
  const std::vector<rigi_instr>& issued(int core) const { return recordings_[core].program; }
  /// Every core arrives at the barrier that ends a phase.
  void barrier();
  /// Adds the last barrier, resolves the launch and returns its end. Throws Fault when a multicast waits for ever.
  uint64_t finish();

  // ---- after finish()
  /// Whether the launch read a scalar, so that data may have had a say in it.
  bool reads_scalars() const;
  /// Stands for everything that the schedule of the launch depends on: equal numbers, equal schedules.
  uint64_t program() const { return program_; }
  /// Works out every instruction's times, unless finish() has: it takes the cycles of a program that it knows from memory.
  void resolve();
  /// A core's instructions in program order, barriers included. After resolve().
  const std::vector<Node>& nodes(uint32_t core) const { return cores_[core].nodes; }
  uint32_t launch_cost() const { return launch_cost_; }
  /// Appends the launch to an instruction trace. HBM addresses are written relative to `hbm_base`.
  void write_trace(OutputFile& file, uint64_t launch, const char* kernel, uint64_t hbm_base);

 private:
  struct Dependency {
    uint32_t node;
    bool on_done;  // else on end
  };
  // An issued instruction at its place in an engine's queue, waiting for what it depends on.
  struct Pending {
    uint32_t node = 0;
    uint64_t ready = 0;  // the latest of the dependencies known so far
    std::vector<Dependency> waits;
    bool requested = false;  // its HBM request is in the pool, or it is counted in its multicast
  };
  struct Queue {
    std::deque<Pending> pending;
    uint64_t end = 0;  // of the last resolved instruction
    std::vector<uint64_t> start;  // ring of the last queue_depth starts
    uint64_t issued = 0, resolved = 0;
  };
  // What a core issued, in program order. Scalars and barriers stand in it as instructions with the codes below.
  struct Recording {
    std::vector<rigi_instr> program;
    std::unordered_set<uint64_t> lines;  // of HBM, that scalar_load has touched in this launch
    uint64_t hash = 0;
    bool scalars = false;
  };
  enum : uint8_t { kScalarLoad = 0xf0, kScalarRead = 0xf1, kBarrier = 0xf2 };
  struct CoreTimeline {
    std::vector<Node> nodes;
    std::vector<uint32_t> window;  // issued nodes that later ones may still have to wait for
    Queue queues[kQueues];
    uint32_t next = 0;
    uint64_t next_issue = 0;  // the earliest issue of the next instruction
    uint64_t stores_done = 0;
    uint32_t multicasts[3] = {0, 0, 0};
    bool at_barrier = false;
  };
  struct Multicast {
    uint32_t expected = 0, ready = 0;
    uint64_t start = 0;
    uint32_t first_core = 0, first_node = 0;
  };
  struct Request {
    uint64_t start;
    uint32_t core, node;
    int engine;
    uint64_t multicast;  // key, or 0
  };

  void expand(uint32_t core);
  void advance(uint32_t core);
  bool issue_next(uint32_t core);
  bool resolve_heads(uint32_t core);
  bool settle(CoreTimeline& line, Pending& pending) const;
  void collect_hazards(CoreTimeline& line, const Node& node, uint32_t index, uint64_t issue, Pending* pending) const;
  void resolve(uint32_t core, int engine, uint64_t start, uint64_t end);
  std::string place(uint32_t core, uint32_t index) const;
  void request_multicast(uint32_t core, int engine, uint64_t start);
  bool grant();
  bool pass_barrier();
  std::vector<uint32_t> receivers(uint32_t core, uint8_t group) const;
  uint64_t multicast_key(uint32_t core, uint8_t group, uint32_t ordinal) const;
  uint64_t program_hash() const;
  void write_node(std::string& out, uint64_t launch, const char* kernel, uint32_t core, uint32_t index, const Node& node, uint64_t hbm_base,
                  uint32_t multicasts[3]) const;

  const Chip& chip_;
  uint32_t launch_cost_ = 0;
  std::vector<Recording> recordings_;
  std::vector<CoreTimeline> cores_;
  std::vector<Request> requests_;
  std::unordered_map<uint64_t, Multicast> multicasts_;
  uint64_t hbm_free_ = 0;  // in units of 1 / hbm_bytes_per_cycle of a cycle
  uint64_t program_ = 0;
  bool resolved_ = false;  // cores_ has the times of the last launch
  std::unordered_map<uint64_t, uint64_t> known_;  // program hash -> cycles
};

}  // namespace rigi
