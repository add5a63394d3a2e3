// The steps of the search: proposals of one frame, then the choice among them.
#include "beam.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "best_path.h"
#include "hashing.h"

namespace sonant {

namespace {

constexpr float kFloor = -1000.0f;  // the blank is never impossible, so that a beam is never empty

constexpr std::uint32_t kNone = 0xFFFFFFFFu;  // in place of a closing

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
    for (std::uint32_t id = 0; id < options.num_tokens; ++id)
        if (options.written[id])
            letters.push_back(id);
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
            rest(options.offsets.empty() ? blank : blank + options.offsets[options.blank]);
        else
            step(row, peak);
        ++frame_;
        blank_run_ = blank >= peak ? blank_run_ + 1 : 0;
        if (pause > 0 && blank_run_ == pause)
            close_all();
    }
}

// What the search takes for the log-probabilities of a frame.
const float* BeamState::weighed(const float* row) {
    const std::vector<float>& offsets = search_->options.offsets;
    if (offsets.empty())
        return row;
    scores_.resize(offsets.size());
    std::transform(row, row + offsets.size(), offsets.begin(), scores_.begin(), std::plus<>());
    return scores_.data();
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
    const float* scores = weighed(row);
    if (scores != row)
        peak = highest(scores, options.num_tokens);
    begin_frame();
    find_active(scores, peak);
    const bool separable = options.separator != kNoToken && scores[options.separator] >= peak - options.token_threshold;
    const float gain = separable ? scores[options.separator] : kNever;
    const auto size = static_cast<std::uint32_t>(beam_.size());
    if (separable) {  // the best hypothesis first: what it reaches is what all others are measured by
        find_endings(0, gain);
        close(gain, false);
    }
    stay(0, scores);
    extend(0);
    for (std::uint32_t i = 1; separable && i < size; ++i)
        find_endings(i, gain);
    for (std::uint32_t i = 1; i < size; ++i) {
        stay(i, scores);
        extend(i);
    }
    close(gain, false);  // last, when few are worth a look into the model, and what they need of it is at hand
    commit(row);
}

// Goes on with every letter that the frame allows.
void BeamState::extend(std::uint32_t i) {
    const BeamSearch& search = *search_;
    const Hypothesis& h = beam_[i];
    const bool separated = search.options.separator != kNoToken;
    if (active_.empty())
        return;
    const auto first = static_cast<std::uint32_t>(closings_.size());
    if (!separated)
        find_closings(i, closings_);
    const float gain = search.hotwords.largest_gain(h.hot);
    const float departure = cost_of_departure(h);
    const bool may_leave = !hopeless(h.score() + active_.front().score - departure + gain);
    for (const Token& token : active_) {
        if (separated && hopeless(h.score() + token.score + gain))
            break;
        const float from = token.score + (token.id == h.last ? h.blank : h.total);  // doubled: a blank lies between
        if (!separated) {
            if (h.between_words())
                begin_word(i, kNone, token, from);
            for (std::uint32_t closed = first; closed < closings_.size(); ++closed)
                begin_word(i, closed, token, from);
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
            find_endings(i, 0.0f);
        else
            place(child_of(i, Move::stay), beam_[i].context);
    }
    close(0.0f, true);
    commit(nullptr);
}

void BeamState::find_active(const float* scores, float peak) {
    const float least = peak - search_->options.token_threshold;
    active_.clear();
    for (const std::uint32_t id : search_->letters)
        if (scores[id] >= least)
            active_.push_back({id, scores[id]});
    std::sort(active_.begin(), active_.end(),
              [](const Token& a, const Token& b) { return a.score > b.score || (a.score == b.score && a.id < b.id); });
}

// A candidate that is its parent still.
BeamState::Candidate BeamState::child_of(std::uint32_t i, Move move) const {
    const Hypothesis& h = beam_[i];
    return {h.blank, h.token, h.total, h.extra, kNever, i, h.last, kNone, h.history, h.spelling, h.node, h.hot, move};
}

void BeamState::stay(std::uint32_t i, const float* scores) {
    const BeamOptions& options = search_->options;
    const Hypothesis& h = beam_[i];
    const float blank = h.total + std::max(scores[options.blank], kFloor);
    float token = kNever;
    if (!h.between_words())
        token = h.token + scores[h.last];
    else if (options.separator != kNoToken)  // separators before a word make no words
        token = h.total + scores[options.separator];
    const float total = log_add(blank, token);
    if (hopeless(total + h.extra))
        return;
    Candidate next = child_of(i, Move::stay);
    next.blank = blank;
    next.token = token;
    next.total = total;
    place(next, h.context);
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
    place({kNever, from, from, extra, kNever, i, token.id, kNone, h.history, spelling, child, hot, Move::extend},
          h.context);
}

// Takes down the words that may end at a hypothesis, for what `gain` adds, and has the memory fetch what the model needs.
void BeamState::find_endings(std::uint32_t i, float gain) {
    if (beam_[i].between_words())
        return;
    const float most =
        beam_[i].total + gain + search_->options.word_bonus + search_->hotwords.largest_gain(beam_[i].hot);
    for_endings(i, [&](const Ending& ending) {
        if (hopeless(most + ending.extra))
            return;  // even if the model were certain
        if (search_->lm && !memo_of(beam_[i].context, ending.id).holds(beam_[i].context, ending.id))
            search_->lm->prefetch(beam_[i].context, ending.id);
        endings_.push_back(ending);
    });
}

// Closes the words taken down; their paths end in a blank (a pause) or in the separator.
void BeamState::close(float gain, bool pause) {
    const float most = gain + search_->options.word_bonus;
    for (const Ending& ending : endings_) {
        const Hypothesis& h = beam_[ending.hypothesis];
        const float total = h.total + gain;
        if (hopeless(h.total + most + search_->hotwords.largest_gain(h.hot) + ending.extra))
            continue;
        const Closing closed = closing(ending);
        if (hopeless(total + closed.extra))
            continue;
        const auto place_of_it = static_cast<std::uint32_t>(closings_.size());
        closings_.push_back(closed);
        place({pause ? total : kNever, pause ? kNever : total, total, closed.extra, kNever, ending.hypothesis, kNoToken,
               place_of_it, mix(h.history, closed.identity), 0, Trie::kRoot, closed.hot, Move::close},
              closed.step.next);
    }
    endings_.clear();
}

// Scripts without separators: the first letter of a word ends the word before.
void BeamState::begin_word(std::uint32_t i, std::uint32_t closed, const Token& token, float from) {
    const BeamSearch& search = *search_;
    Candidate next = child_of(i, closed == kNone ? Move::extend : Move::close_and_extend);
    LmState context = beam_[i].context;
    if (closed != kNone) {
        const Closing& before = closings_[closed];
        next.extra = before.extra;
        next.history = mix(next.history, before.identity);
        next.hot = before.hot;
        next.closed = closed;
        context = before.step.next;
    }
    next.extra += search.hotwords.step(next.hot, token.id);
    next.last = token.id;
    next.blank = kNever;
    next.token = next.total = from;
    const Trie::Node child = search.trie.child(Trie::kRoot, token.id);
    const float before = next.extra;
    if (child) {
        next.node = child;
        next.spelling = 0;
        next.extra += search.look_ahead[child];
        place(next, context);
    }
    if (search.options.open && (!child || search.trie.begin(child) == search.trie.end(child))) {
        next.node = kOutside;
        next.spelling = mix(identity_of_node(Trie::kRoot), token.id);
        next.extra =
            before + search.unknown_look_ahead - search.options.unknown_penalty - search.options.letter_penalty;
        place(next, context);
    }
}

bool BeamState::may_close(const Hypothesis& h) const {
    if (h.between_words() || h.node == kOutside)
        return h.node == kOutside;
    const bool as_unknown = search_->options.open && search_->options.separator != kNoToken;
    return as_unknown || search_->trie.begin(h.node) != search_->trie.end(h.node);
}

// Calls `use(Ending)` for the words that may end where a hypothesis stands.
template <typename Use>
void BeamState::for_endings(std::uint32_t i, Use&& use) const {
    const Hypothesis& h = beam_[i];
    if (!may_close(h))
        return;
    const BeamSearch& search = *search_;
    const BeamOptions& options = search.options;
    if (h.node == kOutside) {
        use(Ending{i, kUnknownWord, h.spelling, 0, h.extra - search.unknown_look_ahead});
        return;
    }
    const float without = h.extra - search.look_ahead[h.node];
    const std::uint32_t *word = search.trie.begin(h.node), *end = search.trie.end(h.node);
    if (word == end)
        use(Ending{i, kUnknownWord, identity_of_node(h.node), 0,
                   without - options.unknown_penalty - options.letter_penalty * static_cast<float>(h.num_letters)});
    for (; word != end; ++word)
        use(Ending{i, *word, identity_of_word(*word), search.lm_words[*word], without});
}

void BeamState::find_closings(std::uint32_t i, std::vector<Closing>& found) const {
    for_endings(i, [&](const Ending& ending) { found.push_back(closing(ending)); });
}

Closing BeamState::closing(const Ending& ending) const {
    const BeamSearch& search = *search_;
    const Hypothesis& h = beam_[ending.hypothesis];
    Closing closed{ending.word, ending.identity, lm_step(h.context, ending.id), h.hot,
                   ending.extra + search.options.word_bonus};
    closed.extra += search.options.lm_weight * closed.step.score;
    if (search.options.bounded)
        closed.extra += search.hotwords.step(closed.hot, search.options.num_tokens);
    return closed;
}

BeamState::Memo& BeamState::memo_of(LmState context, WordId word) const {
    return memo_[mix(context, word) % memo_.size()];
}

LmStep BeamState::lm_step(LmState context, WordId word) const {
    if (!search_->lm)
        return {0.0f, 0};
    Memo& memo = memo_of(context, word);  // frames in a row ask for the same words
    if (!memo.holds(context, word))
        memo = {context, word, search_->lm->step(context, word)};
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
