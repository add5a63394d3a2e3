// Reads the binary files of KenLM (format 5, as its build_binary writes them on little-endian machines) into a builder:
// hash tables ("probing") and tries, also quantised and with compressed pointers. Nothing in the file is trusted.
//
//   magic, padded to 8 bytes; floats 0, 1, -0.5; u32 1, 2^32 - 1; padding to 8; u64 1
//   u8 order; f32 multiplier of hash tables; u32 kind; u8 whether words are stored; u32 version; u64 count of each order
//   the table of words, hashed; the n-grams; the words, each ended by a zero byte, the first being <unk>
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "lm_builder.h"
#include "mapped_file.h"

namespace sonant {

// Is told how many steps of how many are done; may throw to end the work.
using KenlmProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// The n-grams of a file. Throws std::runtime_error, a clause that names the byte where something is wrong.
std::unique_ptr<LmBuilder> read_kenlm(const MappedFile& file, const KenlmProgress& progress);

namespace kenlm {

constexpr float kLn10 = 2.30258509f;

enum Kind : std::uint32_t { probing, rest_probing, trie, quantised_trie, array_trie, quantised_array_trie };

// The bytes of a file, none of which is read beyond its end.
struct Bytes {
    const unsigned char* data;
    std::uint64_t size;

    [[noreturn]] static void refuse(std::uint64_t at, const std::string& what) {
        throw std::runtime_error("byte " + std::to_string(at) + ": " + what);
    }

    // Throws unless `count` bytes lie there.
    void need(std::uint64_t at, std::uint64_t count) const {
        if (at > size || count > size - at)
            refuse(size, "the file ends, but " + std::to_string(count) + " bytes were expected at " + std::to_string(at));
    }

    template <typename T>
    T read(std::uint64_t at) const {
        need(at, sizeof(T));
        T value;
        std::memcpy(&value, data + at, sizeof(T));
        return value;
    }
};

struct Header {
    std::uint32_t order = 0, kind = 0;
    float multiplier = 0.0f;
    bool has_words = false;
    std::vector<std::uint64_t> counts;  // by order
    std::uint64_t end = 0;
};

// Each adds the n-grams that begin at `at` to the builder, unigrams first, and gives the offset of their end. `words`
// is how many words there are, <unk> among them.
struct Source {
    const Bytes& bytes;
    const Header& header;
    std::uint64_t at, num_words;
};
void read_probing(const Source& source, LmBuilder& builder, const KenlmProgress& progress);
void read_trie(const Source& source, LmBuilder& builder, const KenlmProgress& progress);
std::uint64_t end_of_probing(const Source& source);
std::uint64_t end_of_trie(const Source& source);

// The bytes of a hash table of KenLM's.
std::uint64_t table_places(std::uint64_t count, float multiplier);

}  // namespace kenlm

}  // namespace sonant
