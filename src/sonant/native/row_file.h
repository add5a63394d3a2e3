// Rows of 32-bit numbers in temporary files without a name: they vanish however the process ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace sonant {

// A temporary file that cannot be made, written or read: the system's reason.
struct TemporaryFileError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline float as_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline std::uint32_t as_bits(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Rows of one width, written one after the other; one thread at a time.
class RowFile {
  public:
    RowFile(const std::string& folder, std::size_t width);

    std::size_t width() const { return width_; }
    std::uint64_t size() const { return written_ + pending_.size() / width_; }

    void append(const std::uint32_t* row) {
        pending_.insert(pending_.end(), row, row + width_);
        if (pending_.size() >= pending_limit)
            flush();
    }
    // What was appended can be read only after this.
    void flush();
    // `count` rows from `first` on to `rows`.
    void read(std::uint64_t first, std::size_t count, std::uint32_t* rows) const;

  private:
    static constexpr std::size_t pending_limit = std::size_t{1} << 18;  // numbers: 1 MB

    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::size_t width_;
    std::uint64_t written_ = 0;  // rows
    std::vector<std::uint32_t> pending_;
    std::unique_ptr<std::FILE, Close> file_;
};

// The rows [first, end) of a file in turn, through a buffer.
class RowReader {
  public:
    RowReader(const RowFile& file, std::uint64_t first, std::uint64_t end, std::size_t buffer_bytes);

    // The current row, null after the last. Valid until `next`.
    const std::uint32_t* row() const { return row_; }
    void next() {
        row_ += width_;
        if (row_ == stop_)
            fill();
    }

  private:
    void fill();

    const RowFile* file_;
    std::size_t width_, capacity_;  // capacity in rows
    std::uint64_t first_, end_;
    std::vector<std::uint32_t> buffer_;
    const std::uint32_t* row_ = nullptr;
    const std::uint32_t* stop_ = nullptr;
};

}  // namespace sonant
