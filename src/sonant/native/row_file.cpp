#include "row_file.h"

#include <algorithm>
#include <cerrno>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <share.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <process.h>
#else
#include <sys/types.h>
#include <unistd.h>

#include <cstdlib>
#endif

namespace sonant {

namespace {

[[noreturn]] void fail() {
    throw TemporaryFileError(std::strerror(errno));
}

#ifdef _WIN32
std::FILE* open_nameless(const std::string& folder) {
    static std::atomic<unsigned> number{0};
    for (int attempt = 0; attempt < 100; ++attempt) {
        const auto name = "sonant-" + std::to_string(_getpid()) + "-" + std::to_string(number++) + ".tmp";
        const auto path = std::filesystem::u8path(folder) / name;
        int descriptor = -1;
        // _O_TEMPORARY: the system removes the file with its last handle
        const int flags = _O_RDWR | _O_CREAT | _O_EXCL | _O_BINARY | _O_TEMPORARY | _O_NOINHERIT;
        if (_wsopen_s(&descriptor, path.c_str(), flags, _SH_DENYRW, _S_IREAD | _S_IWRITE) == 0)
            return _fdopen(descriptor, "w+b");
        if (errno != EEXIST)
            return nullptr;
    }
    return nullptr;
}

bool seek(std::FILE* file, std::uint64_t place) {
    return _fseeki64(file, static_cast<long long>(place), SEEK_SET) == 0;
}
#else
std::FILE* open_nameless(const std::string& folder) {
    std::string path = folder + "/sonant-XXXXXX";
    const int descriptor = mkstemp(path.data());
    if (descriptor < 0)
        return nullptr;
    unlink(path.c_str());
    return fdopen(descriptor, "w+b");
}

bool seek(std::FILE* file, std::uint64_t place) {
    return fseeko(file, static_cast<off_t>(place), SEEK_SET) == 0;
}
#endif

}  // namespace

RowFile::RowFile(const std::string& folder, std::size_t width) : width_(width), file_(open_nameless(folder)) {
    if (!file_)
        fail();
    std::setvbuf(file_.get(), nullptr, _IONBF, 0);  // rows are buffered here
}

void RowFile::flush() {
    if (pending_.empty())
        return;
    const std::uint64_t place = written_ * width_ * sizeof(std::uint32_t);
    if (!seek(file_.get(), place) ||
        std::fwrite(pending_.data(), sizeof(std::uint32_t), pending_.size(), file_.get()) != pending_.size())
        fail();
    written_ += pending_.size() / width_;
    pending_.clear();
}

void RowFile::read(std::uint64_t first, std::size_t count, std::uint32_t* rows) const {
    errno = EIO;  // an end that comes too early sets none
    if (!seek(file_.get(), first * width_ * sizeof(std::uint32_t)) ||
        std::fread(rows, sizeof(std::uint32_t), count * width_, file_.get()) != count * width_)
        fail();
}

RowReader::RowReader(const RowFile& file, std::uint64_t first, std::uint64_t end, std::size_t buffer_bytes)
    : file_(&file), width_(file.width()), first_(first), end_(end) {
    capacity_ = std::max<std::size_t>(1, buffer_bytes / (width_ * sizeof(std::uint32_t)));
    capacity_ = static_cast<std::size_t>(std::min<std::uint64_t>(capacity_, end - first));
    fill();
}

void RowReader::fill() {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(capacity_, end_ - first_));
    if (count == 0) {
        row_ = stop_ = nullptr;
        return;
    }
    buffer_.resize(count * width_);
    file_->read(first_, count, buffer_.data());
    first_ += count;
    row_ = buffer_.data();
    stop_ = row_ + count * width_;
}

}  // namespace sonant
