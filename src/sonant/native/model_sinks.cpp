#include "model_sinks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace sonant {

namespace {

constexpr std::size_t piece_size = std::size_t{1} << 20;
constexpr std::uint64_t million = 1'000'000;
constexpr double ln_10 = 2.302585092994045684;

// What the builder says of a model that is too large for its format is a clause.
template <typename Work>
void saying_why(Work&& work) {
    try {
        work();
    } catch (const std::runtime_error& error) {
        throw TextError(std::string("The model cannot be written, because ") + error.what() + "; prune more.");
    }
}

}  // namespace

void ArpaWriter::begin(const Words& words, const std::vector<std::uint64_t>& counts) {
    words_ = &words;
    highest_ = static_cast<int>(counts.size());
    text_ = "\\data\\\n";
    for (std::size_t k = 0; k < counts.size(); ++k)
        text_ += "ngram " + std::to_string(k + 1) + "=" + std::to_string(counts[k]) + "\n";
}

void ArpaWriter::add(int order, const std::uint32_t* words, float log_prob, float log_backoff) {
    if (order != order_) {
        text_ += "\n\\" + std::to_string(order) + "-grams:\n";
        order_ = order;
    }
    put_number(log_prob);
    for (int i = 0; i < order; ++i) {
        text_ += i == 0 ? '\t' : ' ';
        text_ += words_->view().word(words[i]);
    }
    if (order < highest_) {
        text_ += '\t';
        put_number(log_backoff);
    }
    text_ += '\n';
    if (text_.size() >= piece_size)
        hand_over();
}

void ArpaWriter::end() {
    text_ += "\n\\end\\\n";
    hand_over();
}

// A number from -99 to 0 with at most six decimals: by hand, since printf takes longer than all else here.
void ArpaWriter::put_number(float value) {
    auto rest = static_cast<std::uint64_t>(std::llround(-static_cast<double>(value) * static_cast<double>(million)));
    std::array<char, 24> digits;
    char* const end = digits.data() + digits.size();
    char* at = end;
    char* last = end;  // behind the last decimal that is not 0
    for (int i = 0; i < 6; ++i, rest /= 10) {
        if (rest % 10 == 0 && last == at)
            --last;
        *--at = static_cast<char>('0' + rest % 10);
    }
    if (last != at)
        *--at = '.';
    const bool negative = last != at || rest > 0;
    do {
        *--at = static_cast<char>('0' + rest % 10);
    } while ((rest /= 10) > 0);
    if (negative)
        *--at = '-';
    text_.append(at, static_cast<std::size_t>(last - at));
}

void ArpaWriter::hand_over() {
    write_(text_);
    text_.clear();
}

void LmWriter::begin(const Words& words, const std::vector<std::uint64_t>& counts) {
    words_ = &words;
    builder_.emplace(static_cast<int>(counts.size()));
    saying_why([&] { builder_->reserve(std::accumulate(counts.begin() + 1, counts.end(), std::uint64_t{0})); });
    numbers_.resize(words.view().num_words);
}

void LmWriter::add(int order, const std::uint32_t* words, float log_prob, float log_backoff) {
    saying_why([&] {
        if (order == 1)  // pruned words are left out, so the builder counts others
            numbers_[words[0]] = builder_->words.add(words_->view().word(words[0]));
        std::array<WordId, max_keys> ngram;
        std::transform(words, words + order, ngram.begin(), [this](std::uint32_t word) { return numbers_[word]; });
        builder_->add(ngram.data(), order, static_cast<float>(log_prob * ln_10),
                      static_cast<float>(log_backoff * ln_10));
    });
}

void LmWriter::end() {
    saying_why([&] {
        builder_->write([this](const char* bytes, std::size_t size) { write_({bytes, size}); }, small_);
    });
    builder_.reset();
}

}  // namespace sonant
