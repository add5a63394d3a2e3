#include "mapped_file.h"

#include <cstdint>
#include <limits>
#include <stdexcept>

#ifdef _WIN32
#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#endif

namespace sonant {

namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& reason) {
    throw std::runtime_error(path + " cannot be read (" + reason + "); name a language model's file.");
}

#ifdef _WIN32
struct Handle {
    HANDLE value;
    ~Handle() {
        if (value != nullptr && value != INVALID_HANDLE_VALUE)
            CloseHandle(value);
    }
};

std::wstring wide(const std::string& path) {
    const int size = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
    std::wstring name(static_cast<std::size_t>(size > 0 ? size : 1), L'\0');
    MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, name.data(), size);
    return name;
}
#else
struct Descriptor {
    int value;
    ~Descriptor() {
        if (value >= 0)
            close(value);
    }
};

std::string last_error() { return std::generic_category().message(errno); }
#endif

}  // namespace

#ifdef _WIN32
MappedFile::MappedFile(const std::string& path) {
    const DWORD sharing = FILE_SHARE_READ | FILE_SHARE_DELETE;  // a conversion may replace the file meanwhile
    const Handle file{CreateFileW(wide(path).c_str(), GENERIC_READ, sharing, nullptr, OPEN_EXISTING, 0, nullptr)};
    LARGE_INTEGER size;
    if (file.value == INVALID_HANDLE_VALUE || !GetFileSizeEx(file.value, &size))
        refuse(path, "Windows error " + std::to_string(GetLastError()));
    if (size.QuadPart == 0)
        return;
    const Handle mapping{CreateFileMappingW(file.value, nullptr, PAGE_READONLY, 0, 0, nullptr)};
    const void* view = mapping.value ? MapViewOfFile(mapping.value, FILE_MAP_READ, 0, 0, 0) : nullptr;
    if (view == nullptr)
        refuse(path, "Windows error " + std::to_string(GetLastError()));
    data_ = static_cast<const unsigned char*>(view);
    size_ = static_cast<std::size_t>(size.QuadPart);
}

MappedFile::~MappedFile() {
    if (data_ != nullptr)
        UnmapViewOfFile(data_);
}
#else
MappedFile::MappedFile(const std::string& path) {
    const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    struct stat status;
    if (file.value < 0 || fstat(file.value, &status) != 0)
        refuse(path, last_error());
    if (!S_ISREG(status.st_mode))
        refuse(path, "it is no regular file");
    if (status.st_size == 0)
        return;
    if (static_cast<std::uintmax_t>(status.st_size) > std::numeric_limits<std::size_t>::max())
        refuse(path, "it is larger than this machine can address");
    const auto size = static_cast<std::size_t>(status.st_size);
    void* view = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.value, 0);
    if (view == MAP_FAILED)
        refuse(path, last_error());
    data_ = static_cast<const unsigned char*>(view);
    size_ = size;
}

MappedFile::~MappedFile() {
    if (data_ != nullptr)
        munmap(const_cast<unsigned char*>(data_), size_);
}
#endif

}  // namespace sonant
