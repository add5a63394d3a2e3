#include "smoothing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "text_counter.h"

namespace sonant {

namespace {

// What the n-grams of one context leave to the shorter context, and what their counts are divided by.
struct ContextSums {
    std::uint64_t total = 0, pruned = 0;
    std::array<std::uint64_t, 4> kept{};  // by adjusted count, the last for three and more

    void add(std::uint64_t stored) {
        const std::uint64_t count = stored & ~pruned_bit;
        total += count;
        if (stored & pruned_bit)
            pruned += count;
        else
            ++kept[count < 3 ? count : 3];
    }

    float backoff(const Discount& discount) const {
        double taken = static_cast<double>(pruned);
        for (std::size_t i = 1; i < kept.size(); ++i)
            taken += discount.amount[i] * static_cast<double>(kept[i]);
        return static_cast<float>(taken / static_cast<double>(total));
    }

    float probability(std::uint64_t count, const Discount& discount) const {
        return static_cast<float>((static_cast<double>(count) - discount.of(count)) / static_cast<double>(total));
    }
};

std::string of_order(const char* stage, int order) {
    return std::string(stage) + " " + std::to_string(order) + "-grams";
}

}  // namespace

float log10_of(double value) {
    return std::clamp(static_cast<float>(std::log10(value)), -99.0f, 0.0f);
}

void WaitingGrams::pass_on(float backoff) {
    std::uint32_t* const row = next_.add();
    write_context_row(row, reader_.row(), order_);
    std::copy_n(reader_.row() + order_, count_numbers, row + order_);
    row[order_ + count_numbers] = as_bits(backoff);
    reader_.next();
}

void WaitingGrams::give_backoff(const std::uint32_t* words, float backoff) {
    while (compare_keys(reader_.row(), words, order_) != 0)
        pass_on(1);
    pass_on(backoff);
}

void WaitingGrams::finish() {
    while (reader_.row())
        pass_on(1);
}

void discount_grams(MergedRows& grams, int order, bool longest, const Discount& discount, RowFile& discounted,
                    const TakeBackoff& take, const Tick& tick) {
    struct Gram {
        std::uint64_t count;
        std::uint32_t word, backoff;
    };
    std::vector<Gram> group;  // the n-grams of one context: at most all words
    std::array<std::uint32_t, max_keys + 3> row{};
    Steps steps(tick, of_order("discounting", order), grams.size());
    while (grams.row()) {
        std::copy_n(grams.row(), order - 1, row.begin());
        ContextSums sums;
        group.clear();
        do {
            const std::uint32_t* const gram = grams.row();
            group.push_back({read_count(gram + order), gram[order - 1], longest ? 0 : gram[order + count_numbers]});
            sums.add(group.back().count);
            grams.next();
            steps.take(grams.taken());
        } while (grams.row() && compare_keys(grams.row(), row.data(), order - 1) == 0);
        const float backoff = sums.backoff(discount);
        for (const Gram& gram : group) {
            if (gram.count & pruned_bit)
                continue;
            std::uint32_t* out = row.data() + order - 1;
            *out++ = gram.word;
            *out++ = as_bits(sums.probability(gram.count, discount));
            *out++ = as_bits(backoff);
            *out = gram.backoff;  // not written for the longest
            discounted.append(row.data());
        }
        take(row.data(), backoff);
    }
    discounted.flush();
}

void interpolate_unigrams(Unigrams& unigrams, const Discount& discount, std::uint64_t num_words) {
    ContextSums sums;
    for (const std::uint64_t count : unigrams.counts)
        sums.add(count);
    const double uniform = static_cast<double>(sums.backoff(discount)) / static_cast<double>(num_words);
    unigrams.probabilities.resize(unigrams.counts.size());
    for (std::size_t word = 0; word < unigrams.counts.size(); ++word) {
        const std::uint64_t count = unigrams.counts[word] & ~pruned_bit;
        unigrams.probabilities[word] = static_cast<float>(sums.probability(count, discount) + uniform);
    }
    unigrams.probabilities[sentence_begin] = 1;  // it is given, never predicted
}

void interpolate_grams(const RowFile& discounted, int order, const Unigrams& unigrams, const RowFile* shorter,
                       RowFile* probabilities, const TakeResult& take, const Tick& tick) {
    // By last word: the probabilities in the shorter context at hand. What is kept there, others may leave behind.
    std::vector<float> lower = unigrams.probabilities;
    RowReader grams(discounted, 0, discounted.size(), reader_bytes);
    RowReader parents(shorter ? *shorter : discounted, 0, shorter ? shorter->size() : 0, reader_bytes);
    const int parent_keys = order - 2;
    const bool longest = probabilities == nullptr;
    std::array<std::uint32_t, max_keys> words{};
    Steps steps(tick, of_order("interpolating", order), discounted.size());
    for (std::uint64_t done = 0; grams.row(); grams.next(), steps.take(++done)) {
        const std::uint32_t* const gram = grams.row();
        while (parents.row() && compare_keys(parents.row(), gram, parent_keys) < 0)
            parents.next();
        for (; parents.row() && compare_keys(parents.row(), gram, parent_keys) == 0; parents.next())
            lower[parents.row()[order - 2]] = as_float(parents.row()[order - 1]);
        const std::uint32_t* const numbers = gram + order;
        const double probability = static_cast<double>(as_float(numbers[0])) +
                                   static_cast<double>(as_float(numbers[1])) * static_cast<double>(lower[gram[order - 1]]);
        std::reverse_copy(gram, gram + order - 1, words.begin());
        words[static_cast<std::size_t>(order - 1)] = gram[order - 1];
        take(order, words.data(), log10_of(probability), longest ? 0 : log10_of(as_float(numbers[2])));
        if (!longest) {
            std::array<std::uint32_t, max_keys + 1> row{};
            std::copy_n(gram, order, row.begin());
            row[static_cast<std::size_t>(order)] = as_bits(static_cast<float>(probability));
            probabilities->append(row.data());
        }
    }
    if (probabilities)
        probabilities->flush();
}

}  // namespace sonant
