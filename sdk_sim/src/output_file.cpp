#include "output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "runtime/status.hpp"

namespace rigi {
namespace {

constexpr size_t kWholeWidth = 64;  // two numbers of 20 digits and their names

int create(const std::string& path) { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); }

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(path), file_(create(path)) {
  if (file_ < 0) throw Error(RIGI_ERROR_IO, "the file " + path + " cannot be written: " + std::strerror(errno));
}

OutputFile::OutputFile(const std::string& folder, int device)
    : path_(folder + '/' + std::to_string(::getpid()) + '-' + std::to_string(device) + ".jsonl") {}

std::string OutputFile::whole() const {
  std::string text = R"({"lines":)" + std::to_string(lines_) + R"(,"launches":)" + std::to_string(launches_) + '}';
  text.resize(std::max(text.size(), kWholeWidth), ' ');
  return text;
}

void OutputFile::write(std::string text, int launches) {
  lines_ += static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
  launches_ += static_cast<uint64_t>(launches);
  if (whole_at_ == 0) {
    const size_t end = text.find("}\n");
    text.insert(end, R"(,"whole":)" + whole());
    whole_at_ = static_cast<off_t>(end + std::strlen(R"(,"whole":)"));
    if (file_ < 0 && (file_ = create(path_)) < 0) fail(errno);
  } else if (file_ >= 0) {
    const std::string now = whole();
    (void)!::pwrite(file_, now.data(), now.size(), whole_at_);  // a pipe cannot be corrected: its reader sees what comes
  }
  if (!failed_) append(text);
}

void OutputFile::append(const std::string& text) {
  for (size_t written = 0; written < text.size();) {
    const ssize_t bytes = ::write(file_, text.data() + written, text.size() - written);
    if (bytes >= 0) {
      written += static_cast<size_t>(bytes);
    } else if (errno != EINTR) {
      return fail(errno);
    }
  }
}

void OutputFile::fail(int error) {
  if (!failed_) {
    std::fprintf(stderr, "rigi: %s cannot be written any further, at launch %llu: %s. What follows is missing from it\n", path_.c_str(),
                 static_cast<unsigned long long>(launches_), std::strerror(error));
  }
  failed_ = true;
}

bool OutputFile::close() {
  if (file_ >= 0 && ::close(file_) != 0) fail(errno);
  file_ = -1;
  return !failed_;
}

}  // namespace rigi
