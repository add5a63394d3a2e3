#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "lm_format.h"
#include "lm_small.h"

namespace sonant::lm_file {

using Sink = std::function<void(const char* bytes, std::size_t size)>;

// Hands a file over, section by section, each filled up to the next multiple of kAlignment. Numbers that are added lie
// bit by bit, the lowest first.
class SectionWriter {
  public:
    explicit SectionWriter(const Sink& sink) : sink_(sink) {}

    void add(std::uint32_t number, std::uint32_t bits) {
        held_ |= std::uint64_t{number} << num_held_;
        for (num_held_ += bits; num_held_ >= 8; num_held_ -= 8, held_ >>= 8)
            bytes_.push_back(static_cast<char>(held_ & 0xff));
        if (bytes_.size() >= kPiece)
            hand_over();
    }
    void end_table() {
        add(0, (8 - num_held_) % 8);
        bytes_.insert(bytes_.end(), kLoad, '\0');
        end();
    }
    void add(const void* data, std::size_t size) {
        hand_over();
        for (std::size_t at = 0; at < size; at += kPiece)
            sink_(static_cast<const char*>(data) + at, std::min(kPiece, size - at));
        written_ += size;
        end();
    }

  private:
    static constexpr std::size_t kPiece = 1 << 24;

    void hand_over() {
        if (!bytes_.empty())
            sink_(bytes_.data(), bytes_.size());
        written_ += bytes_.size();
        bytes_.clear();
    }
    void end() {
        hand_over();
        bytes_.assign((kAlignment - written_ % kAlignment) % kAlignment, '\0');
        hand_over();
    }

    const Sink& sink_;
    std::vector<char> bytes_;
    std::uint64_t held_ = 0, written_ = 0;
    std::uint32_t num_held_ = 0;
};

}  // namespace sonant::lm_file
