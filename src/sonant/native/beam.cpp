// The steps of the search: proposals of one frame, then the choice among them.
#include "beam.h"

#include <algorithm>
#include <utility>

#include "best_path.h"
#include "hashing.h"

namespace sonant {

namespace {


constexpr float kFloor = -1000.0f;     // the blank is never impossible, so that a beam is never empty

std::uint64_t identity_of_node(Trie::Node node) { return mix(0x6E6F6465u, node); }
std::uint64_t identity_of_word(std::uint32_t word) { return mix(0x776F7264u, word); }

}  // namespace

BeamSearch::BeamSearch(const BeamOptions& chosen, const Spellings& lexicon, std::vector<WordId> words,
                       const LanguageModel* model, const Spellings& phrases, const std::vector<float>& boosts)
    : options(chosen),
      trie(lexicon, chosen.num_tokens),
      lm_words(std::move(words)),
      lm(model),
      hotwords(phrases, chosen.num_tokens + 1, boosts, chosen.bounded) {
    const auto weighted = [&](WordId id) { return lm ? options.lm_weight * lm->unigram(id) : 0.0f; };
    look_ahead = trie.best_below([&](std::uint32_t word) { return weighted(lm_words[word]); });
    look_ahead[Trie::kRoot] = 0.0f;
    unknown_look_ahead = weighted(0);
}

BeamState::BeamState(std::shared_ptr<const BeamSearch> search) : search_(std::move(search)), table_(256) {
    Hypothesis first;
    if (search_->lm)
        first.context = search_->lm->begin();
    first.hot = search_->hotwords.begin(search_->options.num_tokens, search_->options.bounded);
    beam_.push_back(first);
}

void BeamState::feed(const float* log_probs, std::size_t num_frames, std::size_t pause) {
    const BeamOptions& options = search_->options;
    for (std::size_t t = 0; t < num_frames; ++t) {
        const float* row = log_probs + t * options.num_tokens;
        const float blank = row[options.blank];
        const float peak = blank > options.blank_skip ? blank : highest(row, options.num_tokens);
        if (blank > options.blank_skip)
            rest(blank);
        else
            step(row, peak);
        ++frame_;
        blank_run_ = blank >= peak ? blank_run_ + 1 : 0;
        if (pause > 0 && blank_run_ == pause)
            close_all();
    }
}

// A frame that is surely blank moves every hypothesis alike.
void BeamState::rest(float blank) {
    if (!rested_)
        for (Hypothesis& h : beam_) {
            h.blank = h.total;
            h.token = kNever;
        }
    rested_ = true;
    acoustic_offset_ += static_cast<double>(blank);
}

void BeamState::step(const float* row, float peak) {
    const BeamOptions& options = search_->options;
    const float gain = search_->hotwords.largest_gain();
    begin_frame();
    find_active(row, peak);
    const bool separable = options.separator != kNoToken && row[options.separator] >= peak - options.token_threshold;
    const auto close_words = [&](std::uint32_t begin, std::uint32_t end) {
        for (std::uint32_t i = begin; separable && i < end; ++i)
            if (!beam_[i].between_words())
                close(i, kNever, beam_[i].total + row[options.separator]);
    };
    const auto size = static_cast<std::uint32_t>(beam_.size());
    close_words(0, 1);  // the best hypothesis first: what it reaches is what all others are measured by
    for (std::uint32_t i = 0; i < size; ++i) {
        stay(i, row);
        extend(i, gain);
    }
    close_words(1, size);  // last, when few are worth a look into the model
    commit(row);
}

// Goes on with every letter that the frame allows.
void BeamState::extend(std::uint32_t i, float gain) {
    const BeamSearch& search = *search_;
    const Hypothesis& h = beam_[i];
    const bool separated = search.options.separator != kNoToken;
    if (active_.empty())
        return;
    if (!separated)
        find_closings(h, closings_);
    const float departure = cost_of_departure(h);
    const bool may_leave = !hopeless(h.score() + active_.front().score - departure + gain);
    for (const Token& token : active_) {
        if (separated && hopeless(h.score() + token.score + gain))
            break;
        const float from = token.score + (token.id == h.last ? h.blank : h.total);  // doubled: a blank lies between
        if (!separated) {
            if (h.between_words())
                begin_word(i, nullptr, token, from);
            for (const Closing& closed : closings_)
                begin_word(i, &closed, token, from);
            if (h.between_words())
                continue;
        }
        const Trie::Node child = h.node == kOutside ? Trie::kNone : search.trie.child(h.node, token.id);
        if (child || may_leave)
            go_on(i, token, from, child, departure);
    }
}

// Where nobody separates words, a pause does. Spellings that no word ends with go on.
void BeamState::close_all() {
    begin_frame();
    for (std::uint32_t i = 0; i < beam_.size(); ++i) {
        if (may_close(beam_[i]))
            close(i, beam_[i].total, kNever);
        else
            place(beam_[i], i, Move::stay, nullptr);
    }
    commit(nullptr);
}

void BeamState::find_active(const float* row, float peak) {
    const BeamOptions& options = search_->options;
    active_.clear();
    for (std::uint32_t id = 0; id < options.num_tokens; ++id)
        if (row[id] >= peak - options.token_threshold && options.written[id])
            active_.push_back({id, row[id]});
    std::sort(active_.begin(), active_.end(),
              [](const Token& a, const Token& b) { return a.score > b.score || (a.score == b.score && a.id < b.id); });
}

void BeamState::stay(std::uint32_t i, const float* row) {
    const BeamOptions& options = search_->options;
    const Hypothesis& h = beam_[i];
    const float blank = h.total + std::max(row[options.blank], kFloor);
    float token = kNever;
    if (!h.between_words())
        token = h.token + row[h.last];
    else if (options.separator != kNoToken)  // separators before a word make no words
        token = h.total + row[options.separator];
    const float total = log_add(blank, token);
    if (hopeless(total + h.extra))
        return;
    Hypothesis next = h;
    next.blank = blank;
    next.token = token;
    next.total = total;
    place(next, i, Move::stay, nullptr);
}

// What a letter costs that the lexicon has not at this place: minus what was expected there, plus what is expected now.
float BeamState::cost_of_departure(const Hypothesis& h) const {
    const BeamSearch& search = *search_;
    const BeamOptions& options = search.options;
    if (!options.open || options.separator == kNoToken)  // without separators, such a word has one letter: begin_word
        return -kNever;
    if (h.node == kOutside)
        return options.letter_penalty;
    return options.unknown_penalty + options.letter_penalty * static_cast<float>(h.num_letters + 1) +
           search.look_ahead[h.node] - search.unknown_look_ahead;
}

void BeamState::go_on(std::uint32_t i, const Token& token, float from, Trie::Node child, float departure) {
    const BeamSearch& search = *search_;
    const Hypothesis& h = beam_[i];
    float extra = h.extra;
    std::uint64_t spelling = 0;
    if (child) {
        extra += search.look_ahead[child] - search.look_ahead[h.node];
    } else {
        extra -= departure;
        spelling = mix(h.node == kOutside ? h.spelling : identity_of_node(h.node), token.id);
        child = kOutside;
    }
    Hotwords::State hot = h.hot;
    extra += search.hotwords.step(hot, token.id);
    if (hopeless(from + extra))
        return;
    Hypothesis next = h;
    next.node = child;
    next.spelling = spelling;
    next.extra = extra;
    next.hot = hot;
    next.last = token.id;
    ++next.num_letters;
    next.blank = kNever;
    next.token = next.total = from;
    place(next, i, Move::extend, nullptr);
}

// Closes the word under way; its paths end in a blank (a pause) or in the separator.
void BeamState::close(std::uint32_t i, float blank, float token) {
    const BeamOptions& options = search_->options;
    const Hypothesis& h = beam_[i];
    const float total = std::max(blank, token);
    const float ahead = h.node == kOutside ? search_->unknown_look_ahead : search_->look_ahead[h.node];
    if (hopeless(total + h.extra - ahead + options.word_bonus + search_->hotwords.largest_gain()))
        return;  // even if the model were certain
    find_closings(h, closings_);
    for (const Closing& closed : closings_) {
        if (hopeless(total + closed.extra))
            continue;
        Hypothesis next;
        next.blank = blank;
        next.token = token;
        next.total = total;
        next.extra = closed.extra;
        next.history = mix(h.history, closed.identity);
        next.context = closed.step.next;
        next.hot = closed.hot;
        place(next, i, Move::close, &closed);
    }
}

// Scripts without separators: the first letter of a word ends the word before.
void BeamState::begin_word(std::uint32_t i, const Closing* closed, const Token& token, float from) {
    const BeamSearch& search = *search_;
    Hypothesis next = beam_[i];
    if (closed) {
        next.extra = closed->extra;
        next.history = mix(next.history, closed->identity);
        next.context = closed->step.next;
        next.hot = closed->hot;
    }
    next.extra += search.hotwords.step(next.hot, token.id);
    next.last = token.id;
    next.num_letters = 1;
    next.blank = kNever;
    next.token = next.total = from;
    const Move move = closed ? Move::close_and_extend : Move::extend;
    const Trie::Node child = search.trie.child(Trie::kRoot, token.id);
    const float before = next.extra;
    if (child) {
        next.node = child;
        next.extra += search.look_ahead[child];
        place(next, i, move, closed);
    }
    if (search.options.open && (!child || search.trie.begin(child) == search.trie.end(child))) {
        next.node = kOutside;
        next.spelling = mix(identity_of_node(Trie::kRoot), token.id);
        next.extra =
            before + search.unknown_look_ahead - search.options.unknown_penalty - search.options.letter_penalty;
        place(next, i, move, closed);
    }
}

bool BeamState::may_close(const Hypothesis& h) const {
    if (h.between_words() || h.node == kOutside)
        return h.node == kOutside;
    const bool as_unknown = search_->options.open && search_->options.separator != kNoToken;
    return as_unknown || search_->trie.begin(h.node) != search_->trie.end(h.node);
}

// The words that may end where `h` stands.
void BeamState::find_closings(const Hypothesis& h, std::vector<Closing>& found) const {
    found.clear();
    if (!may_close(h))
        return;
    const BeamSearch& search = *search_;
    const BeamOptions& options = search.options;
    const auto close_as = [&](std::uint32_t word, std::uint64_t identity, WordId id, float extra) {
        Closing closed{word, identity, lm_step(h.context, id), h.hot, extra + options.word_bonus};
        closed.extra += options.lm_weight * closed.step.score;
        if (options.bounded)
            closed.extra += search.hotwords.step(closed.hot, options.num_tokens);
        found.push_back(closed);
    };
    if (h.node == kOutside) {
        close_as(kUnknownWord, h.spelling, 0, h.extra - search.unknown_look_ahead);
        return;
    }
    const float without = h.extra - search.look_ahead[h.node];
    const std::uint32_t *word = search.trie.begin(h.node), *end = search.trie.end(h.node);
    if (word == end)
        close_as(kUnknownWord, identity_of_node(h.node), 0,
                 without - options.unknown_penalty - options.letter_penalty * static_cast<float>(h.num_letters));
    for (; word != end; ++word)
        close_as(*word, identity_of_word(*word), search.lm_words[*word], without);
}

LmStep BeamState::lm_step(LmState context, WordId word) const {
    if (!search_->lm)
        return {0.0f, 0};
    Memo& memo = memo_[mix(context, word) % memo_.size()];  // frames in a row ask for the same words
    if (!memo.filled || memo.context != context || memo.word != word)
        memo = {context, word, true, search_->lm->step(context, word)};
    return memo.step;
}

Fault first_fault(const float* log_probs, std::size_t num_frames, std::size_t num_tokens, std::size_t& frame) {
    for (frame = 0; frame < num_frames; ++frame) {
        const float* row = log_probs + frame * num_tokens;
        bool number = true;
        for (std::size_t i = 0; i < num_tokens; ++i)
            number &= row[i] <= std::numeric_limits<float>::max();  // neither NaN nor plus infinity
        if (!number)
            return Fault::not_a_number;
        if (highest(row, num_tokens) == kNever)
            return Fault::all_impossible;
    }
    return Fault::none;
}

}  // namespace sonant
