// Greedy decoding: runs of best tokens to letters, letters to words; pieces in any cut give what the whole gives.
// T frames, V tokens. Times are seconds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "best_path.h"

namespace sonant {

struct GreedyOptions {
    std::int32_t blank = 0;
    std::int32_t separator = -1;  // -1: every letter is a word of its own
    std::vector<bool> mute;       // (V,): tokens that write nothing and end no word, the blank among them
    double pause = 0.0;           // without letters for so long, a word has ended
};

struct GreedyLetter {
    std::int32_t token;
    double start, end;
    double confidence;  // the token's highest probability
};

class GreedyState {
public:
    explicit GreedyState(GreedyOptions options) : options_(std::move(options)), token_(options_.blank) {}

    // Row-major (T, V), whose row 0 is the recording's frame `first`.
    void feed(const float* log_probs, std::size_t num_frames, std::int64_t first, double frame_seconds) {
        const Runs runs = best_path(log_probs, num_frames, num_tokens());
        score_ += runs.total;
        for (std::size_t i = 0; i < runs.tokens.size(); ++i) {
            if (runs.tokens[i] == token_) {  // only ever the first run of a piece
                peak_ = std::max(peak_, runs.peaks[i]);
                continue;
            }
            const double at = static_cast<double>(first + runs.first_frames[i]) * frame_seconds;
            end_run(at);
            token_ = runs.tokens[i], began_ = at, peak_ = runs.peaks[i];
        }
        now_ = static_cast<double>(first + static_cast<std::int64_t>(num_frames)) * frame_seconds;
    }

    // Nothing more belongs to the run and the word under way.
    void finish() {
        end_run(now_);
        token_ = options_.blank;
        close();
    }

    // Drop the words that have ended.
    void forget_words() {
        letters_.erase(letters_.begin(), letters_.begin() + static_cast<std::ptrdiff_t>(open_begin()));
        word_ends_.clear();
    }

    // Whether there is a word under way that stays as it is, whatever comes: a separator or a pause follows it.
    bool open_word_stays() const {
        if (open_begin() == letters_.size())
            return false;
        const double next = options_.mute[static_cast<std::size_t>(token_)] ? now_ : began_;  // letter, at the earliest
        return token_ == options_.separator || next - letters_.back().end >= options_.pause;
    }

    std::size_t num_tokens() const { return options_.mute.size(); }
    double score() const { return score_; }  // sum over all frames of the best log-probability
    const std::vector<GreedyLetter>& letters() const { return letters_; }
    const std::vector<std::size_t>& word_ends() const { return word_ends_; }              // one past the last letter
    std::size_t open_begin() const { return word_ends_.empty() ? 0 : word_ends_.back(); }  // of the word under way

private:
    void end_run(double end) {
        if (token_ == options_.blank)
            return;
        if (token_ == options_.separator)
            return close();
        if (options_.mute[static_cast<std::size_t>(token_)])
            return;
        if (open_begin() < letters_.size() && began_ - letters_.back().end >= options_.pause)
            close();
        letters_.push_back({token_, began_, end, std::exp(static_cast<double>(peak_))});
        if (options_.separator < 0)
            close();
    }

    void close() {
        if (open_begin() < letters_.size())
            word_ends_.push_back(letters_.size());
    }

    GreedyOptions options_;
    std::vector<GreedyLetter> letters_;
    std::vector<std::size_t> word_ends_;
    double score_ = 0.0;
    // the run under way, which the next piece may go on with
    std::int32_t token_;
    double began_ = 0.0, now_ = 0.0;
    float peak_ = 0.0F;
};

// Geometric mean of the letters' confidences, as `word_of` in decode/words.py has it.
inline double word_confidence(const GreedyLetter* letters, std::size_t size) {
    double sum = 0.0;
    for (std::size_t i = 0; i < size; ++i)
        sum += std::log(std::max(letters[i].confidence, 1e-30));
    return std::exp(sum / static_cast<double>(size));
}

}  // namespace sonant
