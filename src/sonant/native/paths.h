// What the hypotheses of a beam have behind them: letters and words as two forests of parent links, which hypotheses
// share, and the readings that lost against another where both go on alike. What no hypothesis needs is swept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "log_add.h"

namespace sonant {

struct LetterLink {
    std::uint32_t parent;
    std::uint32_t token;
    std::uint32_t start, end;  // frames
    float peak;                // highest log-probability of the token in its frames
};

struct WordLink {
    std::uint32_t parent;
    std::uint32_t word;     // an entry of the lexicon, or kUnknownWord
    std::uint32_t letters;  // its last letter; its first follows the last one of `parent`
    std::uint32_t depth;    // number of words up to here
    std::uint64_t identity; // of this word
    std::uint64_t history;  // of the text up to here
    double lm;              // sum of the language model's log-probabilities up to here
    double extra;           // all that counts beside the acoustics, up to here
};

// A reading up to some word that goes on just as a better one, whose score is `gap` higher.
struct Rival {
    std::uint32_t word;
    std::uint64_t history;
    float gap;  // negative
};

class Paths {
public:
    static constexpr std::uint32_t kNothing = 0;  // the link before the first

    Paths() : letters_{{0, 0, 0, 0, 0.0f}}, words_{{0, 0, 0, 0, 0, 0, 0.0, 0.0}} {}

    std::uint32_t add(const LetterLink& link) {
        letters_.push_back(link);
        return static_cast<std::uint32_t>(letters_.size() - 1);
    }
    std::uint32_t add(const WordLink& link) {
        words_.push_back(link);
        return static_cast<std::uint32_t>(words_.size() - 1);
    }
    const LetterLink& letter(std::uint32_t link) const { return letters_[link]; }
    const WordLink& word(std::uint32_t link) const { return words_[link]; }

    // Notes that the reading up to `rival.word` lost against the one with the identity `winner`.
    void add_rival(std::uint64_t winner, const Rival& rival) {
        auto& list = rivals_[winner];
        for (Rival& known : list)
            if (known.history == rival.history) {  // heard again a frame later
                known.gap = std::min(log_add(known.gap, rival.gap), 0.0f);
                return;
            }
        list.push_back(rival);
    }
    const std::vector<Rival>* rivals(std::uint64_t history) const {
        const auto found = rivals_.find(history);
        return found == rivals_.end() ? nullptr : &found->second;
    }

    // Whether a sweep would pay: much has been added since the last one.
    bool crowded() const noexcept { return letters_.size() + words_.size() > limit_; }

    // Keeps what the given ends need and renumbers them; `ends` yields references to (letter, word) links.
    template <typename Ends>
    void sweep(Ends&& ends) {
        std::vector<std::uint32_t> letters(letters_.size(), 0), words(words_.size(), 0);  // 1: to be kept
        std::vector<std::uint32_t> waiting;
        ends([&](std::uint32_t& letter, std::uint32_t& word) {
            mark_letters(letter, letters);
            waiting.push_back(word);
        });
        while (!waiting.empty()) {
            std::uint32_t word = waiting.back();
            waiting.pop_back();
            for (; word != kNothing && !words[word]; word = words_[word].parent) {
                words[word] = 1;
                mark_letters(words_[word].letters, letters);
                if (const auto* list = rivals(words_[word].history))
                    for (const Rival& rival : *list)
                        waiting.push_back(rival.word);
            }
        }
        renumber(letters_, letters);
        std::unordered_map<std::uint64_t, std::vector<Rival>> needed;
        for (std::size_t i = 1; i < words_.size() && !rivals_.empty(); ++i)
            if (const auto found = words[i] ? rivals_.find(words_[i].history) : rivals_.end(); found != rivals_.end())
                needed.insert(rivals_.extract(found));
        rivals_ = std::move(needed);
        renumber(words_, words);
        for (std::size_t i = 1; i < words_.size(); ++i)
            words_[i].letters = letters[words_[i].letters];
        for (auto& entry : rivals_)
            for (Rival& rival : entry.second)
                rival.word = words[rival.word];
        ends([&](std::uint32_t& letter, std::uint32_t& word) {
            letter = letters[letter];
            word = words[word];
        });
        limit_ = 2 * (letters_.size() + words_.size()) + kRoom;
    }

private:
    static constexpr std::size_t kRoom = 4096;

    void mark_letters(std::uint32_t letter, std::vector<std::uint32_t>& marks) const {
        for (; letter != kNothing && !marks[letter]; letter = letters_[letter].parent)
            marks[letter] = 1;
    }

    // Drops unmarked links; marks become the new numbers. Parents stand before their children, and go on to.
    template <typename Link>
    static void renumber(std::vector<Link>& links, std::vector<std::uint32_t>& marks) {
        std::uint32_t next = 1;
        marks[0] = 0;
        for (std::size_t i = 1; i < links.size(); ++i) {
            if (!marks[i])
                continue;
            marks[i] = next;
            links[next] = links[i];
            links[next].parent = marks[links[i].parent];
            ++next;
        }
        links.resize(next);
        if (links.capacity() > 4 * links.size() + kRoom)
            links.shrink_to_fit();
    }

    std::vector<LetterLink> letters_;
    std::vector<WordLink> words_;
    std::unordered_map<std::uint64_t, std::vector<Rival>> rivals_;
    std::size_t limit_ = kRoom;
};

}  // namespace sonant
