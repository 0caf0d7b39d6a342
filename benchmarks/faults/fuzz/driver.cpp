// Feeds the fuzzed calls from a seed, where there is no libFuzzer: driver CALLS MODULES SEED THREADS CODE FOLDER
// Prints one JSON object. A crash, a bug that a check found and a hang end it with a signal; standard error says how far it was.
#include <dirent.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>

#include "world.hpp"

namespace {

constexpr size_t kBytes = size_t{32} << 10;  // decisions of one thread in one round
constexpr auto kPatience = std::chrono::seconds(120);

size_t open_files() {
  size_t count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (folder != nullptr && readdir(folder) != nullptr) ++count;
  if (folder != nullptr) closedir(folder);
  return count;
}

void watch(std::atomic<uint64_t>& round) {
  for (;;) {
    const uint64_t calls = fuzz::world().calls;
    std::this_thread::sleep_for(kPatience);
    if (fuzz::world().calls != calls) continue;
    std::fprintf(stderr, "fuzz: no call has returned for %d s, in round %llu\n", static_cast<int>(kPatience.count()),
                 static_cast<unsigned long long>(round.load()));
    std::abort();
  }
}

void one_round(uint64_t seed, unsigned threads) {
  fuzz::prepare();
  std::vector<std::thread> crowd;
  crowd.reserve(threads);
  for (unsigned t = 0; t < threads; ++t) {
    crowd.emplace_back([seed, t] {
      std::mt19937_64 random(seed * 64 + t);
      std::vector<uint8_t> bytes(kBytes);
      for (auto& byte : bytes) byte = static_cast<uint8_t>(random() >> 32);
      fuzz::Input in(bytes.data(), bytes.size());
      while (!in.empty()) fuzz::call(in);
    });
  }
  for (auto& thread : crowd) thread.join();
  fuzz::finish();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "driver CALLS MODULES SEED THREADS CODE FOLDER\n");
    return 2;
  }
  const uint64_t calls = std::strtoull(argv[1], nullptr, 10), modules = std::strtoull(argv[2], nullptr, 10);
  const uint64_t seed = std::strtoull(argv[3], nullptr, 10);
  const auto threads = static_cast<unsigned>(std::strtoul(argv[4], nullptr, 10));
  std::ifstream file(argv[5], std::ios::binary);
  const std::vector<uint8_t> code((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::vector<uint8_t> image = fuzz::pack("{\"kernels\": [\"scale\", \"faulty\"]}", code);
  static std::atomic<uint64_t> round{0};
  fuzz::start(image);
  std::thread(watch, std::ref(round)).detach();
  size_t files = 0;
  uint64_t accepted = 0;
  for (; fuzz::world().calls < calls; ++round) {
    one_round(seed << 32 | round, threads);
    if (round == 0) files = open_files();
  }
  const uint64_t called = fuzz::world().calls;
  if (modules != 0) {
    const std::string path = std::string(argv[6]) + "/damaged.rigi";
    fuzz::load_modules(image, 64, seed + 1, path.c_str());
    if (calls == 0) files = open_files();
    accepted = fuzz::load_modules(image, modules, seed, path.c_str());
    if (open_files() > files) fuzz::bug("files stay open");
    fuzz::finish();
  }
  size_t leaked = 0;
  for (int d = 0; d < fuzz::kDevices; ++d) {
    size_t free_bytes;
    if (rigiMemGetInfo(d, &free_bytes, nullptr) != RIGI_SUCCESS) fuzz::bug("no memory information");
    leaked += fuzz::world().free_bytes[d] - free_bytes;
  }
  std::printf("{\"calls\": %llu, \"modules\": %llu, \"accepted\": %llu, \"leaked_bytes\": %zu, \"statuses\": %s}\n",
              static_cast<unsigned long long>(called), static_cast<unsigned long long>(modules), static_cast<unsigned long long>(accepted),
              leaked, fuzz::statuses().c_str());
  std::fflush(stdout);
  return 0;
}
