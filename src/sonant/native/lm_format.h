// How an n-gram model lies in its file, little-endian: a header of 256 bytes, then sections in a fixed order, each
// beginning at the next multiple of 64 bytes; their sizes follow from the header's counts alone. There are two layouts,
// which are versions to readers: the exact one, version 2, is here, the small one, version 3, in lm_small.h.
//
//   slots     u32 x num_slots       hash table of words: an id, or kNoWord
//   offsets   u32 x num_words + 1   where each word begins in the text
//   text      bytes                 the words in UTF-8, one after the other
//   unigrams  Unigram x num_words   by id
//   contexts  Context x num_contexts; the first is the empty context, whose record is zero
//   arcs      Arc x 4 x num_buckets, a hash table of the longer n-grams
//
// A state is a stored context that at least one n-gram goes on from, or that costs something to leave. An arc holds what
// a word costs after a context and which state follows: the longest suffix of both that is a state.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__GNUC__) || defined(__clang__)
#define SONANT_PREFETCH(address) __builtin_prefetch(address)
#else
#define SONANT_PREFETCH(address) static_cast<void>(address)
#endif

namespace sonant {

using WordId = std::uint32_t;   // 0 is <unk>
using LmState = std::uint32_t;  // a stored context

struct LmStep {
    float score;   // ln p(word | context), back-off weights included
    LmState next;  // the longest stored context after the word
};

constexpr LmState kEmptyContext = 0;
constexpr WordId kNoWord = 0xffffffff;
constexpr int kMaxOrder = 24;
constexpr float kMissingUnknown = -230.25851f;  // ln 1e-100: what a model without <unk> gives it, as KenLM does
constexpr float kLowestScore = -1e4f;           // minus infinity as a number that can be added up

namespace lm_file {

constexpr char kMagic[8] = {'s', 'o', 'n', 'a', 'n', 't', 'L', 'M'};
constexpr std::uint32_t kExactVersion = 2, kSmallVersion = 3;
constexpr std::size_t kAlignment = 64;  // a cache line, which is also a bucket of arcs
constexpr std::size_t kBucket = 4;

inline float bounded(float score) noexcept {  // NaN compares false, too
    return score >= kLowestScore && score <= -kLowestScore ? score : kLowestScore;
}

struct Header {
    char magic[8];
    std::uint32_t version, order;
    std::uint32_t num_words, num_contexts;
    WordId begin_word, end_word;  // <s> and </s>; 0 where the model has none
    union {
        std::uint32_t num_buckets;  // of the exact layout
        std::uint32_t num_arcs;     // of the small one
    };
    union {
        std::uint32_t longest_probe;
        std::uint32_t next_bits;
    };
    std::uint32_t num_slots, reserved;
    std::uint64_t text_bytes, file_bytes;
    std::uint64_t counts[kMaxOrder];  // of n-grams, by order
};
static_assert(sizeof(Header) == 256);

struct Unigram {
    float score;
    LmState next;
};

struct Context {
    float backoff;
    LmState link;            // its longest suffix that is a state
    std::uint64_t children;  // a bit for each word that an arc leaves with (bit_of): most that leave with none show here

    bool may_have(WordId word) const noexcept { return (children & bit_of(word)) != 0; }
    static std::uint64_t bit_of(WordId word) noexcept { return std::uint64_t{1} << ((word * 0x9e3779b1u) >> 26); }
};

struct Arc {
    LmState context;  // 0 where the place is free: unigrams have a table of their own
    WordId word;
    float score;
    LmState next;
};
static_assert(sizeof(Unigram) == 8 && sizeof(Context) == 16 && sizeof(Arc) * kBucket == kAlignment);

// Gives sections their places, one after the other.
class Places {
  public:
    std::uint64_t add(std::uint64_t bytes) noexcept {
        const std::uint64_t begin = end;
        end = (end + bytes + kAlignment - 1) / kAlignment * kAlignment;
        return begin;
    }

    std::uint64_t end = sizeof(Header);
};

// Byte offsets of the sections, and the end of the file.
struct Layout {
    std::uint64_t slots, offsets, text, unigrams, contexts, arcs, end;

    explicit Layout(const Header& header) noexcept {
        Places places;
        // 32-bit counts: no product can overflow. text_bytes is checked to be below 2^32 before.
        slots = places.add(std::uint64_t{header.num_slots} * sizeof(WordId));
        offsets = places.add((std::uint64_t{header.num_words} + 1) * sizeof(std::uint32_t));
        text = places.add(header.text_bytes);
        unigrams = places.add(std::uint64_t{header.num_words} * sizeof(Unigram));
        contexts = places.add(std::uint64_t{header.num_contexts} * sizeof(Context));
        arcs = places.add(std::uint64_t{header.num_buckets} * kAlignment);
        end = places.end;
    }
};

// Spreads all bits of a key over all bits of the result.
inline std::uint64_t mix(std::uint64_t key) noexcept {
    key = (key ^ (key >> 32)) * 0xd6e8feb86659fd93u;
    key = (key ^ (key >> 32)) * 0xd6e8feb86659fd93u;
    return key ^ (key >> 32);
}

// `hash` to one of `size` places, evenly.
inline std::uint32_t place(std::uint64_t hash, std::uint32_t size) noexcept {
    return static_cast<std::uint32_t>(((hash >> 32) * size) >> 32);
}

inline std::uint32_t bucket_of(LmState context, WordId word, std::uint32_t num_buckets) noexcept {
    return place(mix((std::uint64_t{context} << 32) | word), num_buckets);
}

inline std::uint64_t hash_of(std::string_view word) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    for (const char letter : word)
        hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3u;
    return mix(hash);
}

// The words of a file, or of a model that is being built. Trusts no stored number. `Numbers` gives a number by [index].
template <typename Numbers>
struct WordTable {
    Numbers slots{};  // num_words or more where free
    Numbers offsets{};
    const char* text = nullptr;
    std::uint32_t num_slots = 0, num_words = 0;
    std::uint64_t text_bytes = 0;

    std::string_view word(WordId id) const noexcept {
        if (id >= num_words)
            return {};
        const std::uint32_t begin = offsets[id], end = offsets[id + 1];
        return begin <= end && end <= text_bytes ? std::string_view(text + begin, end - begin) : std::string_view();
    }

    // kNoWord where it is not there.
    WordId find(std::string_view wanted) const noexcept {
        std::uint32_t slot = num_slots ? place(hash_of(wanted), num_slots) : 0;
        for (std::uint32_t probe = 0; probe < num_slots; ++probe) {
            const WordId id = slots[slot];
            if (id >= num_words)
                return kNoWord;
            if (word(id) == wanted)
                return id;
            slot = slot + 1 == num_slots ? 0 : slot + 1;
        }
        return kNoWord;
    }
};
using WordView = WordTable<const std::uint32_t*>;

}  // namespace lm_file

}  // namespace sonant
