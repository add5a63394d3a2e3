// Makes the file of a language model from its n-grams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lm_format.h"

namespace sonant {

// Words that get their numbers in the order they come; 0 is <unk>, also written <UNK>.
class Words {
  public:
    Words();
    WordId add(std::string_view word);  // its number, also where it is known
    WordId find(std::string_view word) const noexcept { return view().find(is_unknown(word) ? "<unk>" : word); }
    lm_file::WordView view() const noexcept;

    std::vector<WordId> slots;
    std::vector<std::uint32_t> offsets;
    std::vector<char> text;

  private:
    static bool is_unknown(std::string_view word) noexcept { return word == "<UNK>"; }
    void insert(WordId id) noexcept;
    void grow();
};

// Takes n-grams and writes the model: `words` first, then `add` order by order (all unigrams before the first bigram, and
// so on; within an order in any sequence), then `write` once. Memory is about that of the file plus 9 bytes a context.
// What a caller or a file gets wrong is a std::runtime_error that names words: a clause, not a sentence.
class LmBuilder {
  public:
    using Sink = std::function<void(const char* bytes, std::size_t size)>;

    explicit LmBuilder(int order);

    // The number of n-grams of two words and more that will come; only ever saves time and memory.
    void reserve(std::uint64_t num_ngrams);

    // An n-gram of `length` words, oldest first, with its natural log-probability and the natural log of its back-off
    // weight (0 where it has none; without effect at the highest order). False where it has been added before.
    // Contexts and suffixes that are not there themselves are no fault: pruned models lack some.
    bool add(const WordId* ngram, int length, float score, float backoff = 0.0f);

    // The file, in pieces from front to back; the builder is used up. Every word must have come as a unigram, but <unk>,
    // which gets 1e-100 where it has not. `small` is the layout of lm_small.h.
    void write(const Sink& sink, bool small = false);

    Words words;

  private:
    struct Place {  // a word after a context
        LmState context;
        WordId word;
    };

    lm_file::Arc* find_arc(LmState context, WordId word) noexcept;
    lm_file::Arc* insert_arc(const lm_file::Arc& arc);
    lm_file::Arc* place_arc(const lm_file::Arc& arc) noexcept;
    void resize(std::uint64_t num_arcs);
    void cover_words();
    LmState new_context(LmState parent, WordId word, float backoff);
    LmState context_of(const WordId* ngram, int length);
    LmState continued(LmState context, WordId word) noexcept;
    LmState longest_suffix(LmState context, WordId word) noexcept;
    float score_of(LmState context, WordId word) noexcept;
    void close();
    lm_file::Header header() const noexcept;

    int order_;
    int length_ = 1;  // of what is being added
    std::vector<lm_file::Unigram> unigrams_;
    std::vector<lm_file::Context> contexts_;
    std::vector<Place> places_;           // where each context hangs
    std::vector<std::uint8_t> lengths_;   // of each context
    std::vector<lm_file::Arc> arcs_;
    std::vector<Place> blanks_;  // arcs that had to be made up, because a longer n-gram goes on from them
    std::uint64_t num_arcs_ = 0;
    std::uint32_t num_buckets_ = 0, longest_probe_ = 1;
    std::uint64_t counts_[kMaxOrder] = {};
};

}  // namespace sonant
