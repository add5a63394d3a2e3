#include "nbest.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <utility>

#include "hashing.h"

namespace sonant {

namespace {

constexpr float kIncomplete = 100.0f;  // for the beginning of a word, where only whole words may end

}  // namespace

std::vector<Reading> BeamState::finish(std::size_t count) const { return NBest(*this).best(count); }

// The last word that the words up to each of two have in common.
std::uint32_t BeamState::meeting(std::uint32_t one, std::uint32_t other) const {
    while (paths_.word(one).history != paths_.word(other).history) {
        const std::uint32_t a = paths_.word(one).depth, b = paths_.word(other).depth;
        if (a >= b)
            one = paths_.word(one).parent;
        if (b >= a)
            other = paths_.word(other).parent;
    }
    return one;
}

// The last word that all hypotheses with so good a score have in common.
std::uint32_t BeamState::common_word(float least) const {
    std::uint32_t common = beam_.front().words;
    for (const Hypothesis& h : beam_)
        if (h.score() >= least)
            common = meeting(common, h.words);
    return common;
}

Reading BeamState::stable(std::size_t first) const { return NBest(*this).words(common_word(kNever), first); }

void BeamState::decide(float lead) {
    const std::uint32_t common = common_word(beam_.front().score() - lead);
    const std::uint64_t history = paths_.word(common).history;
    const auto differs = [&](const Hypothesis& h) {
        return paths_.word(meeting(common, h.words)).history != history;
    };
    beam_.erase(std::remove_if(beam_.begin(), beam_.end(), differs), beam_.end());
}

std::vector<Reading> NBest::best(std::size_t count) const {
    const auto worse = [](const End& a, const End& b) {
        return a.score < b.score || (a.score == b.score && a.text > b.text);
    };
    std::vector<End> waiting = ends();
    std::make_heap(waiting.begin(), waiting.end(), worse);
    std::unordered_set<std::uint64_t> texts;
    std::vector<Reading> found;
    while (!waiting.empty() && found.size() < count) {
        std::pop_heap(waiting.begin(), waiting.end(), worse);
        const End end = std::move(waiting.back());
        waiting.pop_back();
        if (!texts.insert(end.text).second)
            continue;
        found.push_back(reading(end));
        if (!state_.search_->options.rivals)
            continue;
        add_detours(end, waiting);
        std::make_heap(waiting.begin(), waiting.end(), worse);
    }
    return found;
}

// Every way in which the recording may end here, those of one text as one.
std::vector<NBest::End> NBest::ends() const {
    std::vector<End> found;
    std::vector<Closing> closings;
    for (std::uint32_t i = 0; i < state_.beam_.size(); ++i) {
        const Hypothesis& h = state_.beam_[i];
        closings.clear();
        state_.find_closings(i, closings);
        for (const Closing& closed : closings)
            add_end(i, &closed, 0.0f, found);
        if (closings.empty())
            add_end(i, nullptr, h.between_words() ? 0.0f : kIncomplete, found);
    }
    return found;
}

void NBest::add_end(std::uint32_t i, const Closing* closed, float penalty, std::vector<End>& found) const {
    const BeamSearch& search = *state_.search_;
    const Hypothesis& h = state_.beam_[i];
    End end;
    end.hypothesis = i;
    end.open_word = closed != nullptr;
    end.text = closed ? mix(h.history, closed->identity) : h.history;
    end.lm = paths_.word(h.words).lm + (closed ? static_cast<double>(closed->step.score) : 0.0);
    if (closed)
        end.closed = *closed;
    float extra = closed ? closed->extra : h.extra - penalty;
    if (!closed && !h.between_words())
        extra -= search.look_ahead[h.node];
    extra -= search.hotwords.earned(closed ? closed->hot : h.hot);
    if (search.lm) {
        const float last = search.lm->end(closed ? closed->step.next : h.context);
        extra += search.options.lm_weight * last;
        end.lm += static_cast<double>(last);
    }
    end.acoustic = static_cast<double>(h.total) + state_.acoustic_offset_;
    end.score = end.acoustic + static_cast<double>(extra) + state_.extra_offset_;
    for (End& known : found)
        if (known.text == end.text) {  // with and without a separator behind the last word
            End& better = end.score > known.score ? end : known;
            const float gap = log_add(0.0f, static_cast<float>(-std::abs(end.score - known.score)));
            better.score += static_cast<double>(gap);
            better.acoustic += static_cast<double>(gap);
            if (&better == &end)
                known = std::move(end);
            return;
        }
    found.push_back(std::move(end));
}

// The links of a reading's words, last one first, the open word left out.
std::vector<std::uint32_t> NBest::links(const End& end) const {
    std::vector<std::uint32_t> found;
    std::size_t next = 0;
    for (std::uint32_t link = state_.beam_[end.hypothesis].words; link != Paths::kNothing;) {
        while (next < end.detours.size() && end.detours[next].at == link)
            link = end.detours[next++].to;
        if (link == Paths::kNothing)
            break;
        found.push_back(link);
        link = paths_.word(link).parent;
    }
    return found;
}

// All readings that differ from this one by one more rival, left of where it differs already.
void NBest::add_detours(const End& end, std::vector<End>& waiting) const {
    const std::vector<std::uint32_t> path = links(end);
    std::size_t from = 0;
    if (!end.detours.empty())
        while (from < path.size() && path[from] != end.detours.back().to)
            ++from;
    for (std::size_t i = from; i < path.size(); ++i) {
        const WordLink& here = paths_.word(path[i]);
        const std::vector<Rival>* rivals = paths_.rivals(here.history);
        for (std::size_t k = 0; rivals && k < rivals->size(); ++k) {
            const Rival& rival = (*rivals)[k];
            const WordLink& there = paths_.word(rival.word);
            End next = end;
            next.detours.push_back({path[i], rival.word});
            next.score += static_cast<double>(rival.gap);
            next.lm += there.lm - here.lm;
            next.acoustic += static_cast<double>(rival.gap) - (there.extra - here.extra);
            next.text = rival.history;
            for (std::size_t j = i; j-- > 0;)
                next.text = mix(next.text, paths_.word(path[j]).identity);
            if (end.open_word)
                next.text = mix(next.text, end.closed.identity);
            waiting.push_back(std::move(next));
        }
    }
}

Reading NBest::reading(const End& end) const {
    const std::vector<std::uint32_t> path = links(end);
    Reading made;
    made.score = end.score;
    made.acoustic = end.acoustic;
    made.lm = end.lm;
    for (std::size_t i = path.size(); i-- > 0;)
        add_word(path[i], made);
    if (end.open_word) {
        const Hypothesis& h = state_.beam_[end.hypothesis];
        add_letters(paths_.word(h.words).letters, h.letters, made);
        made.letters.push_back({h.letters, h.last, h.start, h.end, h.peak});
        made.words.push_back({end.closed.word, made.letters.size()});
    }
    std::uint32_t now = 0;
    for (LetterLink& letter : made.letters) {  // where two paths were joined, the one's end may pass the other's begin
        letter.start = std::max(letter.start, now);
        now = letter.end = std::max(letter.end, letter.start);
    }
    return made;
}

Reading NBest::words(std::uint32_t end, std::size_t first) const {
    std::vector<std::uint32_t> path;
    for (; paths_.word(end).depth > first; end = paths_.word(end).parent)
        path.push_back(end);
    Reading made;
    for (std::size_t i = path.size(); i-- > 0;)
        add_word(path[i], made);
    return made;
}

void NBest::add_word(std::uint32_t link, Reading& made) const {
    const WordLink& word = paths_.word(link);
    add_letters(paths_.word(word.parent).letters, word.letters, made);
    made.words.push_back({word.word, made.letters.size()});
}

// The letters behind the link `after`, up to `last`.
void NBest::add_letters(std::uint32_t after, std::uint32_t last, Reading& made) const {
    const auto begin = static_cast<std::ptrdiff_t>(made.letters.size());
    for (; last != after; last = paths_.letter(last).parent)
        made.letters.push_back(paths_.letter(last));
    std::reverse(made.letters.begin() + begin, made.letters.end());
}

}  // namespace sonant
