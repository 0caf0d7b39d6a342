// A file that profiles and traces are written to. What was written is there even if the process is killed in the next moment.
//
// The first line says in `whole` how many lines and launches the file has when nothing is missing. It is brought up to date before
// each write, in its place, so that it is right for a killed process and can be written where the disk has no room for more.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace rigi {

class OutputFile {
 public:
  /// Creates (or empties) the file at once. Throws Error(IO) naming path and reason.
  explicit OutputFile(const std::string& path);
  /// `<folder>/<process>-<device>.jsonl`, created at the first write: where nothing is to be told there is no file.
  OutputFile(const std::string& folder, int device);
  ~OutputFile() { close(); }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Appends whole lines, each a JSON object, with which so many launches begin. Never throws: what cannot be written is said once on
  /// standard error, counted in `whole`, and close() tells.
  void write(std::string text, int launches);
  /// False if anything could not be written.
  bool close();

 private:
  /// The value of `whole` as it is now, filled up to its fixed width.
  std::string whole() const;
  void append(const std::string& text);
  void fail(int error);

  std::string path_;
  int file_ = -1;
  bool failed_ = false;
  uint64_t lines_ = 0, launches_ = 0;
  off_t whole_at_ = 0;  // where `whole` lies in the file; 0 before the first line
};

}  // namespace rigi
