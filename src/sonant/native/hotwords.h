// Words and phrases that a user expects, as one Aho-Corasick automaton: the cost of a step does not grow with their
// number. A phrase earns its boost letter by letter, so that the search keeps it from the start, and gives back what it
// has earned when it turns out to be another word.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "trie.h"

namespace sonant {

class Hotwords {
public:
    using State = std::uint32_t;

    Hotwords() = default;

    // Each phrase as tokens, with a `boundary` before, between and after its words where words have boundaries.
    // The value of an entry is its index into `boosts` (natural logarithms).
    Hotwords(const Spellings& phrases, std::size_t alphabet, const std::vector<float>& boosts, bool bounded)
        : trie_(phrases, alphabet),
          fail_(trie_.size(), 0),
          earned_(trie_.size(), 0.0f),
          won_(trie_.size(), 0.0f),
          most_(trie_.size(), 0.0f) {
        find_earned(phrases, boosts, bounded);
        for (State s = 0; s < trie_.size(); ++s) {  // breadth-first: a node's suffixes are shorter, hence done
            for (const std::uint32_t* value = trie_.begin(s); value != trie_.end(s); ++value)
                won_[s] += boosts[*value];
            if (s) {
                won_[s] += won_[fail_[s]];
                earned_[s] = std::max(earned_[s], earned_[fail_[s]]);
            }
            for (State child = trie_.first_child(s); child != trie_.end_child(s); ++child)
                fail_[child] = s ? follow(fail_[s], trie_.label(child)) : 0;
        }
        for (State s = 0; s < trie_.size(); ++s) {  // after all values are known, and again suffixes first
            most_[s] = most_[fail_[s]];
            for (State child = trie_.first_child(s); child != trie_.end_child(s); ++child)
                most_[s] = std::max(most_[s], won_[child] + earned_[child]);
        }
    }

    bool empty() const noexcept { return trie_.size() <= 1; }
    // An upper bound of what one step gains: nothing where no phrase is under way and none can begin.
    float largest_gain(State state) const noexcept { return empty() ? 0.0f : most_[state] - earned_[state]; }

    // Goes on with `token`; what that gains.
    float step(State& state, std::uint32_t token) const noexcept {
        const float before = earned_[state];
        state = follow(state, token);
        return won_[state] + earned_[state] - before;
    }
    // Where every recording begins.
    State begin(std::uint32_t boundary, bool bounded) const noexcept {
        return bounded ? follow(0, boundary) : 0;
    }
    // What a phrase that does not come to its end has to give back.
    float earned(State state) const noexcept { return empty() ? 0.0f : earned_[state]; }

private:
    State follow(State state, std::uint32_t token) const noexcept {
        for (;; state = fail_[state]) {
            if (const State child = trie_.child(state, token))
                return child;
            if (!state)
                return 0;
        }
    }

    // The best boost that may lie ahead, by the share of letters heard.
    void find_earned(const Spellings& phrases, const std::vector<float>& boosts, bool bounded) {
        const std::size_t edge = bounded ? 1 : 0;
        for (std::size_t e = 0; e < phrases.size(); ++e) {
            const std::size_t length = phrases.length(e);
            const float share = boosts[phrases.values[e]] / static_cast<float>(length - 2 * edge);
            State node = Trie::kRoot;
            for (std::size_t depth = 1; depth < length; ++depth) {
                node = trie_.child(node, phrases.begin(e)[depth - 1]);
                earned_[node] = std::max(earned_[node], share * static_cast<float>(depth - edge));
            }
        }
    }

    Trie trie_;
    std::vector<State> fail_;
    std::vector<float> earned_, won_;
    std::vector<float> most_;  // by state: the highest sum of both that one step leads to
};

}  // namespace sonant
