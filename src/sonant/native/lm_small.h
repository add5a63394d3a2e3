// The small layout of an n-gram model, version 3: about a quarter of the exact one, with rounded scores, and a search
// in place of a hash table. After the header of lm_format.h come
//
//   slots     W bits x num_slots      hash table of words: an id, or num_words where free
//   offsets   T bits x num_words + 1  where each word begins in the text
//   text      bytes                   the words in UTF-8, one after the other
//   scores    float x (256 + 64 + 64) those of unigrams, those of arcs, and back-off weights, which are named by number
//   unigrams  {8 score, S next} x num_words, by id
//   contexts  {6 back-off weight, S link, A begin} x num_contexts + 1: where the arcs begin, and those of the last end
//   arcs      {W word, next_bits further, 6 score} x num_arcs, those of a context one after the other, by word
//
// W, S, T and A are the bits that num_words, num_contexts, text_bytes and num_arcs take. Contexts are in the order of
// their last words, a word's own first: what follows an arc is `further` than what follows its word alone. Records and
// their fields lie bit by bit, the lowest first; 8 bytes follow on each table, so that any number comes with one load.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lm_format.h"

namespace sonant::lm_file {

// Six bits for unigrams, too, would multiply what perplexity is lost, and save next to nothing.
constexpr std::uint32_t kUnigramBits = 8, kScoreBits = 6;
constexpr std::size_t kUnigramScores = std::size_t{1} << kUnigramBits, kNumScores = std::size_t{1} << kScoreBits;
constexpr std::size_t kLoad = 8;  // bytes that are read at once

inline std::uint32_t bits_of(std::uint64_t number) noexcept {
    std::uint32_t bits = 0;
    for (; number != 0; number >>= 1)
        ++bits;
    return bits;
}

// One field of a table of records: numbers of up to 32 bits. Any index below the table's size lies within it.
class Packed {
  public:
    Packed() = default;
    Packed(const unsigned char* table, std::uint32_t record_bits, std::uint32_t shift, std::uint32_t bits) noexcept
        : table_(table), stride_(record_bits), shift_(shift), mask_((std::uint64_t{1} << bits) - 1) {}

    std::uint32_t operator[](std::size_t index) const noexcept {
        const std::uint64_t bit = std::uint64_t{index} * stride_ + shift_;
        std::uint64_t loaded;
        std::memcpy(&loaded, table_ + bit / 8, kLoad);
        return static_cast<std::uint32_t>((loaded >> (bit % 8)) & mask_);
    }
    const unsigned char* address(std::size_t index) const noexcept {
        return table_ + (std::uint64_t{index} * stride_ + shift_) / 8;
    }

  private:
    const unsigned char* table_ = nullptr;
    std::uint64_t stride_ = 0, shift_ = 0, mask_ = 0;
};

// The widths, byte offsets of the sections, and the end of the file.
struct SmallLayout {
    std::uint32_t word_bits, state_bits, text_bits, begin_bits, unigram_bits, context_bits, arc_bits;
    std::uint64_t slots, offsets, text, scores, unigrams, contexts, arcs, end;

    explicit SmallLayout(const Header& header) noexcept;
};

// Trusts no number of the file, as LanguageModel says. States and words that are given must be below the header's
// counts.
class SmallModel {
  public:
    SmallModel(const Header& header, const unsigned char* file) noexcept;

    Unigram unigram(WordId word) const noexcept { return {unigram_scores_[unigrams_[word]], unigram_nexts_[word]}; }
    LmStep step(LmState state, WordId word) const noexcept;
    void prefetch(LmState state, WordId word) const noexcept;

    WordTable<Packed> words;

  private:
    LmState stored(LmState state) const noexcept { return state < num_contexts_ ? state : kEmptyContext; }
    std::uint32_t find_arc(LmState context, WordId word) const noexcept;

    std::uint32_t order_, num_contexts_, num_arcs_;
    const float *unigram_scores_, *arc_scores_, *backoff_scores_;
    Packed unigrams_, unigram_nexts_;
    Packed backoffs_, links_, begins_;
    Packed arc_words_, furthers_, arcs_;
};

}  // namespace sonant::lm_file
