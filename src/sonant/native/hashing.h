// Mixing numbers into 64-bit identities; two that differ are taken for equal once in 2^64.
#pragma once

#include <cstdint>

namespace sonant {

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
    a ^= b * 0x9E3779B97F4A7C15u;
    a ^= a >> 32;
    a *= 0xD6E8FEB86659FD93u;
    a ^= a >> 29;
    a *= 0xD6E8FEB86659FD93u;
    return a ^ (a >> 32);
}

}  // namespace sonant
