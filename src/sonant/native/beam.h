// CTC beam search with a lexicon, a language model and hotwords. What a search is (BeamSearch, shared by threads) and
// how far it has come in one recording (BeamState) are two values; beam.cpp has the steps.
//
// A hypothesis is where it stands in the word under way and all that can matter to what follows: the state of the
// language model and of the hotwords. Paths that agree in this share one place of the beam: of the same text their
// probabilities add up, of different texts the better one stays, and the other is kept as its rival for n-best lists.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "hotwords.h"
#include "lm.h"
#include "log_add.h"
#include "paths.h"
#include "trie.h"

namespace sonant {

inline constexpr std::uint32_t kNoToken = 0xFFFFFFFFu;
inline constexpr std::uint32_t kUnknownWord = 0xFFFFFFFFu;  // a word outside the lexicon, spelled by its letters
inline constexpr std::uint32_t kOutside = 0xFFFFFFFFu;      // in place of a node: the spelling has left the lexicon

struct BeamOptions {
    std::uint32_t num_tokens = 0;
    std::uint32_t blank = 0;
    std::uint32_t separator = kNoToken;
    std::vector<bool> written;  // tokens that may be read as letters
    std::size_t beam_size = 100;
    float token_threshold = 12.0f;  // below a frame's best token
    float score_threshold = 16.0f;  // below a frame's best hypothesis
    float blank_skip = 0.0f;        // log-probability of the blank above which nothing else is looked at
    float lm_weight = 1.0f;
    float word_bonus = 0.0f;
    bool open = true;              // words outside the lexicon are possible
    float unknown_penalty = 0.0f;  // for each such word
    float letter_penalty = 0.0f;   // for each of its letters
    std::vector<float> offsets;    // added to the tokens' log-probabilities in every frame; none where it is empty
    bool recombine = true;         // False: only paths of the same text share a place
    bool rivals = false;           // keep what n-best lists need
    bool bounded = true;           // hotwords begin and end with words
};

// What all recordings share; never changes.
class BeamSearch {
public:
    // `lexicon` spells entries of `lm_words`, which holds each entry's word of the model. `phrases` have the token
    // `num_tokens` for a boundary between words. The model may be null and must outlive the search.
    BeamSearch(const BeamOptions& options, const Spellings& lexicon, std::vector<WordId> lm_words,
               const LanguageModel* lm, const Spellings& phrases, const std::vector<float>& boosts);

    BeamOptions options;
    Trie trie;
    std::vector<WordId> lm_words;
    const LanguageModel* lm;
    Hotwords hotwords;
    std::vector<std::uint32_t> letters;  // tokens that may be read as such
    std::vector<float> look_ahead;       // by node: the weighted log-probability of the likeliest word below
    float unknown_look_ahead = 0.0f;
};

struct Hypothesis {
    float blank = 0.0f, token = kNever;  // log-probability of the paths that end in a blank, and in the last token
    float total = 0.0f;                  // of both
    float extra = 0.0f;                  // what else counts: model, bonuses, penalties, hotwords
    std::uint64_t history = 0;           // identity of the words before
    std::uint64_t spelling = 0;          // identity of the letters since; outside the lexicon only
    Trie::Node node = Trie::kRoot;
    LmState context = 0;
    Hotwords::State hot = 0;
    std::uint32_t last = kNoToken;  // the last letter of the word under way; none between words
    std::uint32_t num_letters = 0;  // of the word under way
    std::uint32_t start = 0, end = 0;
    float peak = 0.0f;
    std::uint32_t letters = Paths::kNothing;  // before the last letter
    std::uint32_t words = Paths::kNothing;

    float score() const noexcept { return total + extra; }
    bool between_words() const noexcept { return node == Trie::kRoot; }
};

struct Token {
    std::uint32_t id;
    float score;
};

// A word that may end where hypothesis `hypothesis` stands, before the model is asked.
struct Ending {
    std::uint32_t hypothesis, word;
    std::uint64_t identity;
    WordId id;    // the model's
    float extra;  // what counts then, but for model, bonus and hotwords
};

// What closing the word under way would give.
struct Closing {
    std::uint32_t word;
    std::uint64_t identity;
    LmStep step;
    Hotwords::State hot;
    float extra;
};

struct HeardWord {
    std::uint32_t word;      // entry of the lexicon or kUnknownWord
    std::size_t end_letter;  // one past its last letter in Reading::letters
};

struct Reading {
    std::vector<HeardWord> words;
    std::vector<LetterLink> letters;  // frames count from the first one fed
    double score = 0.0, acoustic = 0.0, lm = 0.0;
};

enum class Fault { none, not_a_number, all_impossible };

class BeamState {
public:
    explicit BeamState(std::shared_ptr<const BeamSearch> search);

    // (T, V) log-probabilities, row-major. `pause` is the number of frames that end a word whose separator is missing.
    void feed(const float* log_probs, std::size_t num_frames, std::size_t pause);

    // The best readings of distinct texts, best first, at least one; what has been fed stays as it is.
    std::vector<Reading> finish(std::size_t count) const;

    // The words that all hypotheses have in common, from word `first` on.
    Reading stable(std::size_t first) const;

    // Gives up the hypotheses that read other words than those which all within `lead` of the best have in common.
    void decide(float lead);

    std::size_t num_frames() const noexcept { return frame_; }
    std::size_t num_tokens() const noexcept { return search_->options.num_tokens; }

private:
    enum class Move : std::uint8_t { stay, extend, close, close_and_extend };
    // A hypothesis of the next frame: its parent and what the move changes. The rest is filled in for those that stay.
    struct Candidate {
        float blank, token, total, extra;
        float strength;  // of the path that the links follow
        std::uint32_t parent;
        std::uint32_t last;    // by moves that extend
        std::uint32_t closed;  // by moves that close, the place in closings_
        std::uint64_t history, spelling;
        Trie::Node node;
        Hotwords::State hot;
        Move move;

        float score() const noexcept { return total + extra; }
    };
    struct Slot {
        std::uint64_t key;
        std::uint32_t candidate, stamp;
    };
    struct Loser {
        std::uint32_t winner;
        Candidate candidate;
    };
    struct Memo {
        LmState context = 0;
        WordId word = kNoWord;
        LmStep step{};

        bool holds(LmState c, WordId w) const noexcept { return word == w && context == c; }
    };

    // One frame: begin_frame, any number of proposals, commit.
    const float* weighed(const float* row);
    void step(const float* row, float peak);
    void rest(float blank);
    void close_all();
    void begin_frame();
    void find_active(const float* scores, float peak);
    void stay(std::uint32_t i, const float* scores);
    void extend(std::uint32_t i);
    float cost_of_departure(const Hypothesis& h) const;
    void go_on(std::uint32_t i, const Token& token, float from, Trie::Node child, float departure);
    void begin_word(std::uint32_t i, std::uint32_t closed, const Token& token, float from);
    void find_endings(std::uint32_t i, float gain);
    void close(float gain, bool pause);
    bool hopeless(float score) const noexcept { return !(score >= best_ - search_->options.score_threshold); }
    Candidate child_of(std::uint32_t i, Move move) const;
    void place(const Candidate& next, LmState context);
    void commit(const float* row);

    template <typename Use>
    void for_endings(std::uint32_t i, Use&& use) const;
    void find_closings(std::uint32_t i, std::vector<Closing>& found) const;  // appends to them
    Closing closing(const Ending& ending) const;
    bool may_close(const Hypothesis& h) const;
    Memo& memo_of(LmState context, WordId word) const;
    LmStep lm_step(LmState context, WordId word) const;
    Slot& slot_of(std::uint64_t key);
    void grow_table();
    void select();
    Hypothesis grown(const Candidate& candidate, const float* row);
    std::uint32_t letters_of(std::uint32_t parent);
    void keep_rivals(const float* row);
    void rescale();
    std::uint32_t common_word(float least) const;
    std::uint32_t meeting(std::uint32_t one, std::uint32_t other) const;

    friend class NBest;  // which reads, and changes nothing

    std::shared_ptr<const BeamSearch> search_;
    std::vector<Hypothesis> beam_;  // the best one first
    std::vector<Hypothesis> next_;  // the beam to be
    std::vector<Candidate> candidates_;
    std::vector<Loser> losers_;
    std::vector<Slot> table_;
    std::vector<float> scores_;          // log-probabilities of the frame and offsets together
    std::vector<Token> active_;          // letters that the frame allows, likeliest first
    std::vector<Ending> endings_;        // that the model is to judge
    std::vector<Closing> closings_;      // of this frame
    std::vector<std::uint32_t> chosen_;  // candidates that stay
    std::vector<std::uint32_t> pushed_;  // by parent: its last letter as a link, made when first needed
    mutable std::array<Memo, 512> memo_;
    Paths paths_;
    float best_ = kNever;
    double acoustic_offset_ = 0.0, extra_offset_ = 0.0;
    std::uint32_t frame_ = 0, stamp_ = 0;
    std::size_t blank_run_ = 0;
    bool rested_ = false;  // since the last frame that was looked at, only blanks
};

// The first frame with a value that is not a number, or where no token is possible.
Fault first_fault(const float* log_probs, std::size_t num_frames, std::size_t num_tokens, std::size_t& frame);

}  // namespace sonant
