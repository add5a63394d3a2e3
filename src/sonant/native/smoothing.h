// The two passes over n-grams in the order of their contexts: what is left of each after discounts and what its context
// gives to the shorter one, from the longest order down; then probabilities interpolated from the shortest order up.
//
// A context row holds an n-gram's words before the last from the last to the first, then the last word. Rows of equal
// contexts are neighbours, those of contexts with a common end, too, and within one context last words ascend.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "adjusted_counts.h"
#include "row_file.h"
#include "row_sort.h"

namespace sonant {

// All unigrams by word: their adjusted counts, and from there on what is known of each.
struct Unigrams {
    std::vector<std::uint64_t> counts;  // with the pruned bit
    std::vector<float> backoffs, probabilities;
};

// Takes an n-gram of the model: its words in the order of the text, log10 of probability and backoff weight.
using TakeResult = std::function<void(int order, const std::uint32_t* words, float log_prob, float log_backoff)>;

// Puts suffix order (`words` from the last to the first) into a context row.
inline void write_context_row(std::uint32_t* row, const std::uint32_t* words, int order) {
    std::copy(words + 1, words + order, row);
    row[order - 1] = words[0];
}

// log10, not above 0; -99 stands for that of zero.
float log10_of(double value);

constexpr std::size_t reader_bytes = std::size_t{1} << 20;

// The n-grams of one order below the highest, which wait for their backoff weights and then go on to be sorted.
class WaitingGrams {
  public:
    // `file` holds rows of words from the last to the first with their counts.
    WaitingGrams(const RowFile& file, int order, RowSorter& next)
        : reader_(file, 0, file.size(), reader_bytes), order_(order), next_(next) {}

    // The weight of the n-gram `words`; contexts come in the n-grams' order. Those between are no contexts.
    void give_backoff(const std::uint32_t* words, float backoff);
    void finish();

  private:
    void pass_on(float backoff);

    RowReader reader_;
    int order_;
    RowSorter& next_;
};

// Takes a context, its words from the last to the first, and its weight: what it gives to the shorter context.
using TakeBackoff = std::function<void(const std::uint32_t* context, float backoff)>;

// Discount the n-grams of one order: context rows with counts and, unless they are the longest, backoff weights become
// context rows with discounted probability, the context's weight and the same backoff weights. Pruned ones are left out.
void discount_grams(MergedRows& grams, int order, bool longest, const Discount& discount, RowFile& discounted,
                    const TakeBackoff& take, const Tick& tick);

// Probabilities of all unigrams; `num_words` is what the uniform distribution below them is over.
void interpolate_unigrams(Unigrams& unigrams, const Discount& discount, std::uint64_t num_words);

// Interpolate the discounted n-grams of an order >= 2 with the next lower one. `shorter` holds context rows with
// probabilities and is null for order 2; so is `probabilities`, which takes the same for this order, for the longest.
void interpolate_grams(const RowFile& discounted, int order, const Unigrams& unigrams, const RowFile* shorter,
                       RowFile* probabilities, const TakeResult& take, const Tick& tick);

}  // namespace sonant
