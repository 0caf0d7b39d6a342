// A file that profiles and traces are written to. What was written is there even if the process is killed in the next moment.
#pragma once

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

  /// Appends. Never throws: close() tells.
  void write(const std::string& text);
  /// False if anything could not be written.
  bool close();

 private:
  std::string folder_;
  int device_ = 0;
  int file_ = -1;
  bool failed_ = false;
};

}  // namespace rigi
