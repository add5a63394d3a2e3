// A file mapped read-only; every process that maps it shares one copy in memory.
#pragma once

#include <cstddef>
#include <string>

namespace sonant {

class MappedFile {
  public:
    // `path` in UTF-8 on Windows, else in the file system's own bytes. Throws std::runtime_error: one sentence.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const unsigned char* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

  private:
    const unsigned char* data_ = nullptr;  // null where the file is empty
    std::size_t size_ = 0;
};

}  // namespace sonant
