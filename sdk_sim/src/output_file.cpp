#include "output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/status.hpp"

namespace rigi {
namespace {

int create(const std::string& path) { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); }

}  // namespace

OutputFile::OutputFile(const std::string& path) : file_(create(path)) {
  if (file_ < 0) throw Error(RIGI_ERROR_IO, "the file " + path + " cannot be written: " + std::strerror(errno));
}

OutputFile::OutputFile(const std::string& folder, int device) : folder_(folder), device_(device) {}

void OutputFile::write(const std::string& text) {
  if (file_ < 0 && !failed_) file_ = create(folder_ + '/' + std::to_string(::getpid()) + '-' + std::to_string(device_) + ".jsonl");
  failed_ = failed_ || file_ < 0;
  for (size_t written = 0; !failed_ && written < text.size();) {
    const ssize_t bytes = ::write(file_, text.data() + written, text.size() - written);
    if (bytes >= 0) {
      written += static_cast<size_t>(bytes);
    } else {
      failed_ = errno != EINTR;
    }
  }
}

bool OutputFile::close() {
  if (file_ >= 0) failed_ = ::close(file_) != 0 || failed_;
  file_ = -1;
  return !failed_;
}

}  // namespace rigi
