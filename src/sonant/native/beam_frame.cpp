// One frame's candidates: their table, the choice among them, and their ties to what lies behind.
#include <algorithm>
#include <cmath>

#include "beam.h"
#include "hashing.h"

namespace sonant {

namespace {

constexpr float kRescaleAt = 128.0f;  // single precision keeps five digits behind the point below it

}  // namespace

void BeamState::begin_frame() {
    candidates_.clear();
    losers_.clear();
    best_ = kNever;
    rested_ = false;
    if (++stamp_ == 0) {  // once in four thousand million frames
        std::fill(table_.begin(), table_.end(), Slot{});
        stamp_ = 1;
    }
}

std::uint64_t BeamState::key_of(const Hypothesis& h) const {
    const std::uint64_t past =
        search_->options.recombine ? (std::uint64_t{h.context} << 32 | h.hot) : mix(h.history, 1);
    return mix(past, h.node == kOutside ? h.spelling : h.node);
}

BeamState::Slot& BeamState::slot_of(std::uint64_t key) {
    const std::size_t last = table_.size() - 1;  // a power of two less one
    std::size_t i = key & last;
    while (table_[i].stamp == stamp_ && table_[i].key != key)
        i = (i + 1) & last;
    return table_[i];
}

void BeamState::grow_table() {
    table_.assign(4 * table_.size(), Slot{});
    stamp_ = 1;
    for (std::uint32_t i = 0; i < candidates_.size(); ++i) {
        const std::uint64_t key = key_of(candidates_[i]);
        slot_of(key) = {key, i, stamp_};
    }
}

// Takes a hypothesis of the next frame, unless it is hopeless; `next.total` is what its paths add.
void BeamState::place(const Hypothesis& next, std::uint32_t parent, Move move, const Closing* closed) {
    const float score = next.score();
    if (hopeless(score) || score == kNever)
        return;
    best_ = std::max(best_, score);
    const std::uint64_t key = key_of(next);
    Slot& slot = slot_of(key);
    const auto fill = [&](Candidate& c) {
        static_cast<Hypothesis&>(c) = next;
        c.strength = score;
        c.parent = parent;
        c.move = move;
        if (closed)
            c.closed = *closed;
    };
    if (slot.stamp != stamp_) {
        slot = {key, static_cast<std::uint32_t>(candidates_.size()), stamp_};
        candidates_.emplace_back();
        fill(candidates_.back());
        if (2 * candidates_.size() > table_.size())
            grow_table();
        return;
    }
    Candidate& c = candidates_[slot.candidate];
    if (c.history == next.history) {
        const float blank = log_add(c.blank, next.blank), token = log_add(c.token, next.token);
        const float total = log_add(c.total, next.total);
        if (score > c.strength)
            fill(c);
        c.blank = blank;
        c.token = token;
        c.total = total;
        best_ = std::max(best_, c.score());
        return;
    }
    const bool better = score > c.score();
    if (search_->options.rivals) {
        losers_.push_back({slot.candidate, c});
        if (!better)
            fill(losers_.back().candidate);
    }
    if (better)
        fill(c);
}

// The candidates that survive, the best one first.
std::vector<std::uint32_t> BeamState::select() {
    const auto better = [&](std::uint32_t a, std::uint32_t b) {
        const float x = candidates_[a].score(), y = candidates_[b].score();
        return x > y || (x == y && a < b);
    };
    std::vector<std::uint32_t> chosen;
    for (std::uint32_t i = 0; i < candidates_.size(); ++i)
        if (candidates_[i].score() >= best_ - search_->options.score_threshold)
            chosen.push_back(i);
    const std::size_t size = search_->options.beam_size;
    if (chosen.size() > size) {
        std::nth_element(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(size), chosen.end(), better);
        chosen.resize(size);
    }
    std::iter_swap(chosen.begin(), std::min_element(chosen.begin(), chosen.end(), better));
    return chosen;
}

void BeamState::commit(const float* row) {
    const std::vector<std::uint32_t> chosen = select();
    pushed_.assign(beam_.size(), Paths::kNothing);
    for (std::uint32_t i : chosen)
        link(candidates_[i], row);
    if (!losers_.empty())
        keep_rivals(chosen, row);
    beam_.clear();
    for (std::uint32_t i : chosen)
        beam_.push_back(candidates_[i]);
    rescale();
    if (paths_.crowded())
        paths_.sweep([&](auto&& use) {
            for (Hypothesis& h : beam_)
                use(h.letters, h.words);
        });
}

// Ties a survivor to what lies behind it.
void BeamState::link(Candidate& c, const float* row) {
    const Hypothesis& parent = beam_[c.parent];
    c.letters = parent.letters;
    c.words = parent.words;
    c.start = parent.start;
    c.end = parent.end;
    c.peak = parent.peak;
    if (c.move == Move::stay) {
        const bool heard = row && !c.between_words() && c.end == frame_ && row[c.last] >= row[search_->options.blank];
        if (heard) {
            c.end = frame_ + 1;
            c.peak = std::max(c.peak, row[c.last]);
        }
        return;
    }
    c.letters = letters_of(c.parent);
    if (c.move != Move::extend) {
        const WordLink& before = paths_.word(parent.words);
        const double extra = static_cast<double>(c.closed.extra) + extra_offset_;
        c.words = paths_.add(WordLink{parent.words, c.closed.word, c.letters, before.depth + 1, c.closed.identity,
                                      mix(parent.history, c.closed.identity),
                                      before.lm + static_cast<double>(c.closed.step.score), extra});
    }
    if (c.move != Move::close) {
        c.start = frame_;
        c.end = frame_ + 1;
        c.peak = row[c.last];
    }
}

std::uint32_t BeamState::letters_of(std::uint32_t parent) {
    const Hypothesis& h = beam_[parent];
    if (h.between_words())
        return h.letters;
    if (pushed_[parent] == Paths::kNothing)
        pushed_[parent] = paths_.add(LetterLink{h.letters, h.last, h.start, h.end, h.peak});
    return pushed_[parent];
}

void BeamState::keep_rivals(const std::vector<std::uint32_t>& chosen, const float* row) {
    std::vector<bool> alive(candidates_.size());
    for (std::uint32_t i : chosen)
        alive[i] = true;
    for (Loser& loser : losers_) {
        const Candidate& winner = candidates_[loser.winner];
        if (!alive[loser.winner] || winner.history == loser.candidate.history)
            continue;
        link(loser.candidate, row);
        const float gap = std::min(loser.candidate.score() - winner.score(), 0.0f);
        paths_.add_rival(winner.history, {loser.candidate.words, loser.candidate.history, gap});
    }
}

// Keeps the numbers near zero, where single precision is fine.
void BeamState::rescale() {
    const float total = beam_.front().total, extra = beam_.front().extra;
    if (std::abs(total) > kRescaleAt) {
        acoustic_offset_ += static_cast<double>(total);
        for (Hypothesis& h : beam_) {
            h.blank -= total;
            h.token -= total;
            h.total -= total;
        }
    }
    if (std::abs(extra) > kRescaleAt) {
        extra_offset_ += static_cast<double>(extra);
        for (Hypothesis& h : beam_)
            h.extra -= extra;
    }
}

}  // namespace sonant
