#include "kneser_ney.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace sonant {

namespace {

std::size_t at(int index) {
    return static_cast<std::size_t>(index);
}

}  // namespace

KneserNey::KneserNey(EstimateSettings settings)
    : settings_(std::move(settings)), order_(settings_.order),
      rows_(std::make_unique<RowSorter>(settings_.folder, order_, count_numbers, true, settings_.memory / 4)),
      text_(order_, settings_.skip_marks, words_, *rows_) {
    words_.add("<s>");  // after <unk>: the numbers that text_counter.h gives them
    words_.add("</s>");
}

Estimate KneserNey::finish(const std::vector<ModelSink*>& sinks, const Tick& tick) {
    if (text_.num_words() == 0)
        throw TextError("The text holds no word; a model needs some.");
    adjust(tick);
    Estimate estimate;
    for (int k = 1; k <= settings_.order; ++k) {
        estimate.found.push_back(counts_[at(k)].total);
        estimate.kept.push_back(counts_[at(k)].kept);
        estimate.discounts.push_back(discounts_[at(k)]);
    }
    estimate.num_sentences = text_.num_sentences();
    estimate.num_words = text_.num_words();
    estimate.num_skipped = text_.num_skipped();
    estimate.num_types = words_.view().num_words - special_words;
    discount(tick);
    interpolate(sinks, tick);
    return estimate;
}

Pruning KneserNey::pruning() const {
    Pruning pruning{settings_.thresholds, {}};
    if (settings_.allowed_words) {
        pruning.banned.assign(words_.view().num_words, true);
        for (const std::string& word : *settings_.allowed_words)
            if (const WordId known = words_.find(word); known != kNoWord)
                pruning.banned[known] = false;
        std::fill_n(pruning.banned.begin(), special_words, char{false});
    }
    return pruning;
}

std::unique_ptr<RowSorter> KneserNey::context_sorter(int order, bool longest) const {
    const int load = longest ? count_numbers : count_numbers + 1;
    return std::make_unique<RowSorter>(settings_.folder, order, load, false, settings_.memory / 4);
}

void KneserNey::adjust(const Tick& tick) {
    const int order = settings_.order;
    MergedRows full = rows_->finish(settings_.memory / 4);
    rows_.reset();
    unigrams_.counts.resize(words_.view().num_words);
    waiting_.resize(at(order) + 1);
    for (int k = 2; k < order; ++k)
        waiting_[at(k)] = std::make_unique<RowFile>(settings_.folder, at(k + count_numbers));
    longest_ = context_sorter(order, true);
    std::array<std::uint32_t, max_keys + count_numbers> row{};
    const TakeGram take = [&](int k, const std::uint32_t* words, std::uint64_t count) {
        if (k == 1) {
            unigrams_.counts[words[0]] = count;
        } else if (k == order) {
            std::uint32_t* const out = longest_->add();
            write_context_row(out, words, k);
            write_count(out + k, count);
        } else {
            std::copy_n(words, k, row.begin());
            write_count(row.data() + k, count);
            waiting_[at(k)]->append(row.data());
        }
    };
    counts_ = adjust_counts(full, order, pruning(), take, tick);
    if (counts_[1].kept <= special_words)
        throw TextError("Every word of the text is pruned; lower the thresholds, or allow more words.");
    discounts_.resize(counts_.size());
    for (int k = 1; k <= order; ++k) {
        discounts_[at(k)] = estimate_discount(counts_[at(k)]);
        order_ = counts_[at(k)].kept > 0 ? k : order_;
        if (waiting_[at(k)])
            waiting_[at(k)]->flush();
    }
}

void KneserNey::discount(const Tick& tick) {
    unigrams_.backoffs.assign(words_.view().num_words, 1.0f);
    discounted_.resize(at(order_) + 1);
    if (order_ < settings_.order && order_ > 1) {  // nothing longer gives backoff weights
        longest_ = context_sorter(order_, true);
        const RowFile& grams = *waiting_[at(order_)];
        for (RowReader reader(grams, 0, grams.size(), reader_bytes); reader.row(); reader.next()) {
            std::uint32_t* const row = longest_->add();
            write_context_row(row, reader.row(), order_);
            std::copy_n(reader.row() + order_, count_numbers, row + order_);
        }
    }
    std::unique_ptr<RowSorter> sorter = std::move(longest_);
    for (int k = order_; k > 1; --k) {
        const bool longest = k == order_;
        MergedRows grams = sorter->finish(settings_.memory / 4);
        discounted_[at(k)] = std::make_unique<RowFile>(settings_.folder, at(k + (longest ? 2 : 3)));
        if (k == 2) {
            const TakeBackoff take = [&](const std::uint32_t* context, float backoff) {
                unigrams_.backoffs[context[0]] = backoff;
            };
            discount_grams(grams, k, longest, discounts_[at(k)], *discounted_[at(k)], take, tick);
            return;
        }
        sorter = context_sorter(k - 1, false);
        WaitingGrams shorter(*waiting_[at(k - 1)], k - 1, *sorter);
        const TakeBackoff take = [&](const std::uint32_t* context, float backoff) {
            shorter.give_backoff(context, backoff);
        };
        discount_grams(grams, k, longest, discounts_[at(k)], *discounted_[at(k)], take, tick);
        shorter.finish();
        waiting_[at(k - 1)].reset();
    }
}

void KneserNey::interpolate(const std::vector<ModelSink*>& sinks, const Tick& tick) {
    interpolate_unigrams(unigrams_, discounts_[1], counts_[1].kept - 1);  // all but the begin of a sentence
    const TakeResult take = [&](int order, const std::uint32_t* words, float log_prob, float log_backoff) {
        for (ModelSink* sink : sinks)
            sink->add(order, words, log_prob, log_backoff);
    };
    std::vector<std::uint64_t> counts;
    for (int k = 1; k <= order_; ++k)
        counts.push_back(counts_[at(k)].kept);
    for (ModelSink* sink : sinks)
        sink->begin(words_, counts);
    for (std::uint32_t word = 0; word < words_.view().num_words; ++word)
        if (!(unigrams_.counts[word] & pruned_bit))
            take(1, &word, log10_of(unigrams_.probabilities[word]), log10_of(unigrams_.backoffs[word]));
    std::unique_ptr<RowFile> shorter;
    for (int k = 2; k <= order_; ++k) {
        auto probabilities = k < order_ ? std::make_unique<RowFile>(settings_.folder, at(k + 1)) : nullptr;
        interpolate_grams(*discounted_[at(k)], k, unigrams_, shorter.get(), probabilities.get(), take, tick);
        discounted_[at(k)].reset();
        shorter = std::move(probabilities);
    }
    for (ModelSink* sink : sinks)
        sink->end();
}

}  // namespace sonant
