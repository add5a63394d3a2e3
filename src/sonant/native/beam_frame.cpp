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
    closings_.clear();
    best_ = kNever;
    rested_ = false;
    if (++stamp_ == 0) {  // once in four thousand million frames
        std::fill(table_.begin(), table_.end(), Slot{});
        stamp_ = 1;
    }
}

BeamState::Slot& BeamState::slot_of(std::uint64_t key) {
    const std::size_t last = table_.size() - 1;  // a power of two less one
    std::size_t i = key & last;
    while (table_[i].stamp == stamp_ && table_[i].key != key)
        i = (i + 1) & last;
    return table_[i];
}

void BeamState::grow_table() {
    std::vector<Slot> before(4 * table_.size());
    before.swap(table_);
    for (const Slot& slot : before)
        if (slot.stamp == stamp_)
            slot_of(slot.key) = slot;
}

// Takes a hypothesis of the next frame, unless it is hopeless; `context` is the state of the model.
void BeamState::place(const Candidate& next, LmState context) {
    const float score = next.score();
    if (hopeless(score) || score == kNever)
        return;
    best_ = std::max(best_, score);
    const BeamOptions& options = search_->options;
    const std::uint64_t past = options.recombine ? (std::uint64_t{context} << 32 | next.hot) : mix(next.history, 1);
    const std::uint64_t key = mix(past, next.node == kOutside ? next.spelling : next.node);
    Slot& slot = slot_of(key);
    if (slot.stamp != stamp_) {
        slot = {key, static_cast<std::uint32_t>(candidates_.size()), stamp_};
        candidates_.push_back(next);
        candidates_.back().strength = score;
        if (2 * candidates_.size() > table_.size())
            grow_table();
        return;
    }
    Candidate& c = candidates_[slot.candidate];
    if (c.history == next.history) {
        const float blank = log_add(c.blank, next.blank), token = log_add(c.token, next.token);
        const float total = log_add(c.total, next.total);
        if (score > c.strength) {
            c = next;
            c.strength = score;
        }
        c.blank = blank;
        c.token = token;
        c.total = total;
        best_ = std::max(best_, c.score());
        return;
    }
    const bool better = score > c.score();
    if (options.rivals)
        losers_.push_back({slot.candidate, better ? c : next});
    if (better) {
        c = next;
        c.strength = score;
    }
}

// The candidates that survive, the best one first.
void BeamState::select() {
    const auto better = [&](std::uint32_t a, std::uint32_t b) {
        const float x = candidates_[a].score(), y = candidates_[b].score();
        return x > y || (x == y && a < b);
    };
    chosen_.clear();
    for (std::uint32_t i = 0; i < candidates_.size(); ++i)
        if (!hopeless(candidates_[i].score()))
            chosen_.push_back(i);
    const std::size_t size = search_->options.beam_size;
    if (chosen_.size() > size) {
        std::nth_element(chosen_.begin(), chosen_.begin() + static_cast<std::ptrdiff_t>(size), chosen_.end(), better);
        chosen_.resize(size);
    }
    std::iter_swap(chosen_.begin(), std::min_element(chosen_.begin(), chosen_.end(), better));
}

void BeamState::commit(const float* row) {
    select();
    pushed_.assign(beam_.size(), Paths::kNothing);
    next_.clear();
    for (std::uint32_t i : chosen_)
        next_.push_back(grown(candidates_[i], row));
    if (!losers_.empty())
        keep_rivals(row);
    beam_.swap(next_);
    rescale();
    if (paths_.crowded())
        paths_.sweep([&](auto&& use) {
            for (Hypothesis& h : beam_)
                use(h.letters, h.words);
        });
}

// The hypothesis that a survivor is, tied to what lies behind it.
Hypothesis BeamState::grown(const Candidate& c, const float* row) {
    const Hypothesis& parent = beam_[c.parent];
    Hypothesis h = parent;
    h.blank = c.blank;
    h.token = c.token;
    h.total = c.total;
    h.extra = c.extra;
    if (c.move == Move::stay) {
        const bool heard = row && !h.between_words() && h.end == frame_ && row[h.last] >= row[search_->options.blank];
        if (heard) {
            h.end = frame_ + 1;
            h.peak = std::max(h.peak, row[h.last]);
        }
        return h;
    }
    h.history = c.history;
    h.spelling = c.spelling;
    h.node = c.node;
    h.hot = c.hot;
    h.last = c.last;
    h.letters = letters_of(c.parent);
    if (c.move != Move::extend) {
        const Closing& closed = closings_[c.closed];
        const WordLink& before = paths_.word(parent.words);
        h.words = paths_.add(WordLink{parent.words, closed.word, h.letters, before.depth + 1, closed.identity, c.history,
                                      before.lm + static_cast<double>(closed.step.score),
                                      static_cast<double>(closed.extra) + extra_offset_});
        h.context = closed.step.next;
        h.num_letters = 0;
    }
    if (c.move != Move::close) {
        ++h.num_letters;
        h.start = frame_;
        h.end = frame_ + 1;
        h.peak = row[c.last];
    }
    return h;
}

std::uint32_t BeamState::letters_of(std::uint32_t parent) {
    const Hypothesis& h = beam_[parent];
    if (h.between_words())
        return h.letters;
    if (pushed_[parent] == Paths::kNothing)
        pushed_[parent] = paths_.add(LetterLink{h.letters, h.last, h.start, h.end, h.peak});
    return pushed_[parent];
}

void BeamState::keep_rivals(const float* row) {
    std::vector<bool> alive(candidates_.size());
    for (std::uint32_t i : chosen_)
        alive[i] = true;
    for (const Loser& loser : losers_) {
        const Candidate& winner = candidates_[loser.winner];
        if (!alive[loser.winner] || winner.history == loser.candidate.history)
            continue;
        const float gap = std::min(loser.candidate.score() - winner.score(), 0.0f);
        const std::uint32_t words = grown(loser.candidate, row).words;
        paths_.add_rival(winner.history, {words, loser.candidate.history, gap});
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
