#include "adjusted_counts.h"

#include <algorithm>

#include "text_counter.h"

namespace sonant {

namespace {

// The n-grams of lower orders that the rows at hand go on counting: all end in the same words.
class OpenGrams {
  public:
    OpenGrams(int order, const Pruning& pruning, const TakeGram& take)
        : counts_(static_cast<std::size_t>(order) + 1), order_(order), pruning_(pruning), take_(take) {
        counts_[1].total = counts_[1].kept = 2;  // the unknown word and the begin of a sentence
    }

    void take(const std::uint32_t* row, std::uint64_t count) {
        int same = 0;
        while (same < open_ && row[same] == words_[at(same)])
            ++same;
        close(same, false);
        for (int k = 1; k <= same; ++k)
            plain_[at(k)] += count;
        if (same > 0)
            ++adjusted_[at(same)];  // by the word that differs
        // Before a sentence's first mark there are only more of them, which belong to no n-gram.
        const auto length = static_cast<int>(std::find(row + 1, row + order_, sentence_begin) - row) + 1;
        open_ = std::min(length, order_ - 1);
        for (int k = same + 1; k <= open_; ++k) {
            words_[at(k - 1)] = row[k - 1];
            plain_[at(k)] = count;
            adjusted_[at(k)] = k > 1 && row[k - 1] == sentence_begin ? count : 1;
        }
        if (length >= order_)
            give(order_, row, count, count, count);
    }

    // Hand on the n-grams longer than `kept`.
    void close(int kept, bool last) {
        for (; open_ > kept; --open_) {
            const std::uint64_t plain = plain_[at(open_)], adjusted = adjusted_[at(open_)];
            // KenLM's lmplz counts the very last n-gram of each order by its plain count; so do we, to be equal
            give(open_, words_.data(), adjusted, plain, last ? plain : adjusted);
        }
    }

    std::vector<OrderCounts> counts_;

  private:
    static std::size_t at(int index) { return static_cast<std::size_t>(index); }

    void give(int k, const std::uint32_t* words, std::uint64_t count, std::uint64_t plain, std::uint64_t counted) {
        const bool pruned = pruning_.drops(words, k, plain);
        OrderCounts& counts = counts_[at(k)];
        ++counts.total;
        counts.kept += !pruned;
        if (counted < counts.with_count.size())
            ++counts.with_count[counted];
        take_(k, words, count | (pruned ? pruned_bit : 0));
    }

    int order_, open_ = 0;
    const Pruning& pruning_;
    const TakeGram& take_;
    std::array<std::uint32_t, max_keys> words_{};  // from the last to the first
    std::array<std::uint64_t, max_keys + 1> plain_{}, adjusted_{};
};

}  // namespace

bool Pruning::drops(const std::uint32_t* words, int order, std::uint64_t count) const {
    if (order == 1 && words[0] == sentence_end)
        return false;
    return count <= thresholds[static_cast<std::size_t>(order)] ||
           std::any_of(words, words + order, [&](std::uint32_t word) { return word < banned.size() && banned[word]; });
}

std::vector<OrderCounts> adjust_counts(MergedRows& full, int order, const Pruning& pruning, const TakeGram& take,
                                       const Tick& tick) {
    OpenGrams open(order, pruning, take);
    Steps steps(tick, "adjusting counts", full.size());
    for (; full.row(); full.next()) {
        open.take(full.row(), read_count(full.row() + order));
        steps.take(full.taken());
    }
    open.close(0, true);
    return std::move(open.counts_);
}

Discount estimate_discount(const OrderCounts& counts) {
    constexpr std::array<double, 4> fallback{0, 0.5, 1, 1.5};
    const auto& n = counts.with_count;
    Discount discount;
    const double y = static_cast<double>(n[1]) / static_cast<double>(n[1] + 2 * n[2]);
    for (std::size_t count = 1; count < 4; ++count) {
        const double ratio = static_cast<double>(n[count + 1]) / static_cast<double>(n[count]);
        const auto c = static_cast<double>(count);
        const double amount = c - (c + 1) * y * ratio;
        if (n[count] == 0 || amount < 0 || amount > c)
            return {fallback, false};
        discount.amount[count] = amount;
    }
    return discount;
}

}  // namespace sonant
