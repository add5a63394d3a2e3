// KenLM's tries: n-grams by their last word, then the word before, and so on; each order one array of packed bits.
#include <algorithm>
#include <array>

#include "kenlm.h"

namespace sonant::kenlm {

namespace {

struct Range {
    std::uint64_t begin, end;
};

unsigned required_bits(std::uint64_t value) {
    unsigned bits = 0;
    for (; value != 0; value >>= 1)
        ++bits;
    return bits;
}

// The n-grams of one order: the word; the weights, exact or as numbers of a table; where the longer ones begin.
struct Level {
    std::uint64_t count = 0, at = 0, end = 0;
    unsigned word_bits = 0, weight_bits = 0, next_bits = 0;
    std::uint64_t table_at = 0, table_count = 0;     // of compressed pointers: the u64 index at which the upper part grows
    std::uint64_t scores_at = 0, backoffs_at = 0;    // of quantised weights: f32

    unsigned bits() const { return word_bits + weight_bits + next_bits; }
};

class Trie {
  public:
    explicit Trie(const Source& source);
    std::uint64_t end() const { return levels_.back().end; }
    void add_all(LmBuilder& builder, const KenlmProgress& progress);

  private:
    std::uint64_t bits(const Level& level, std::uint64_t entry, unsigned offset, unsigned size) const;
    float number(std::uint64_t bits) const;
    Range unigram_range(std::uint64_t word) const;
    Range range(std::size_t level, std::uint64_t entry) const;
    std::uint64_t next(const Level& level, std::uint64_t entry) const;
    void add(LmBuilder& builder, std::size_t level, std::uint64_t entry);
    void visit(LmBuilder& builder, std::size_t level, Range range, std::size_t wanted);

    const Source& source_;
    bool quantised_ = false;
    unsigned score_bits_ = 31, backoff_bits_ = 32;
    std::uint64_t unigrams_at_ = 0;
    std::vector<Level> levels_;                // of bigrams and longer ones
    std::array<WordId, kMaxOrder> words_{};    // the last word last
    std::uint64_t added_ = 0;
};

Trie::Trie(const Source& source) : source_(source) {
    const Bytes& bytes = source.bytes;
    const auto& counts = source.header.counts;
    const std::uint32_t order = source.header.order, kind = source.header.kind;
    const bool array = kind == array_trie || kind == quantised_array_trie;
    quantised_ = kind == quantised_trie || kind == quantised_array_trie;
    std::uint64_t at = source.at, tables = source.at + 8;
    if (quantised_) {  // u8 version, u8 bits of scores, u8 of back-off weights; then tables, scores first, by order
        score_bits_ = bytes.read<std::uint8_t>(at + 1);
        backoff_bits_ = bytes.read<std::uint8_t>(at + 2);
        if (bytes.read<std::uint8_t>(at) != 2 || score_bits_ < 1 || score_bits_ > 25 || backoff_bits_ < 1 || backoff_bits_ > 25)
            Bytes::refuse(at, "its quantisation is unknown");
        at += 8 + 4 * ((order - 1) * (1ull << score_bits_) + (order - 2) * (1ull << backoff_bits_));
    }
    unigrams_at_ = at;
    at += 16 * (counts[0] + 2);
    const unsigned pointer_bits = array && order > 2 ? bytes.read<std::uint8_t>(at + 1) : 0;
    for (std::uint32_t n = 1; n < order; ++n) {
        Level level;
        const bool longest = n + 1 == order;
        level.count = counts[n];
        level.word_bits = required_bits(counts[0]);
        level.weight_bits = score_bits_ + (longest ? 0 : backoff_bits_);
        level.scores_at = tables;
        level.backoffs_at = tables + 4 * (1ull << score_bits_);
        tables = level.backoffs_at + 4 * (1ull << backoff_bits_);
        if (!longest) {
            const unsigned required = required_bits(counts[n + 1]);
            unsigned chopped = 0;
            if (array) {  // as many bits go to the table as make both together smallest
                std::int64_t least = 0;
                for (unsigned chop = 0; chop <= std::min(required, pointer_bits); ++chop) {
                    const std::uint64_t grown = required - chop < 64 ? counts[n + 1] >> (required - chop) : 0;
                    const std::int64_t change = static_cast<std::int64_t>(grown * 64) -
                                                static_cast<std::int64_t>((level.count + 1) * chop);
                    if (chop == 0 || change < least) {
                        least = change;
                        chopped = chop;
                    }
                }
                level.table_count = (counts[n + 1] >> (required - chopped)) + 1;
                level.table_at = (at + 7) / 8 * 8 + 8;
                at += 8 * (1 + level.table_count) + 7;
            }
            level.next_bits = required - chopped;
        }
        level.at = at;
        at += ((level.count + 1) * level.bits() + 7) / 8 + 8;
        level.end = at;
        levels_.push_back(level);
    }
}

// Up to 57 bits of an entry, least significant first.
std::uint64_t Trie::bits(const Level& level, std::uint64_t entry, unsigned offset, unsigned size) const {
    const std::uint64_t bit = entry * level.bits() + offset;
    const auto word = source_.bytes.read<std::uint64_t>(level.at + bit / 8);
    return (word >> (bit % 8)) & ((1ull << size) - 1);
}

float Trie::number(std::uint64_t bits) const {
    const auto narrow = static_cast<std::uint32_t>(bits);
    float value;
    std::memcpy(&value, &narrow, sizeof(value));
    return value;
}

Range Trie::unigram_range(std::uint64_t word) const {
    const std::uint64_t at = unigrams_at_ + 16 * word + 8;
    return {source_.bytes.read<std::uint64_t>(at), source_.bytes.read<std::uint64_t>(at + 16)};
}

std::uint64_t Trie::next(const Level& level, std::uint64_t entry) const {
    std::uint64_t upper = 0;
    if (level.table_count != 0) {  // the last place whose index is not above the entry; the first index is 0
        std::uint64_t low = 0, high = level.table_count;
        while (high - low > 1) {
            const std::uint64_t middle = (low + high) / 2;
            (source_.bytes.read<std::uint64_t>(level.table_at + 8 * middle) <= entry ? low : high) = middle;
        }
        upper = low << level.next_bits;
    }
    return upper | bits(level, entry, level.word_bits + level.weight_bits, level.next_bits);
}

Range Trie::range(std::size_t level, std::uint64_t entry) const {
    return {next(levels_[level], entry), next(levels_[level], entry + 1)};
}

// Adds the n-gram whose words stand in words_.
void Trie::add(LmBuilder& builder, std::size_t index, std::uint64_t entry) {
    const Level& level = levels_[index];
    const bool longest = index + 1 == levels_.size();
    float score, backoff = 0.0f;
    if (quantised_) {
        const unsigned skipped = longest ? 0 : backoff_bits_;
        const std::uint64_t of_score = bits(level, entry, level.word_bits + skipped, score_bits_);
        score = source_.bytes.read<float>(level.scores_at + 4 * of_score);
        if (!longest)
            backoff = source_.bytes.read<float>(level.backoffs_at + 4 * bits(level, entry, level.word_bits, backoff_bits_));
    } else {  // the sign of the score is left out
        score = -number(bits(level, entry, level.word_bits, 31));
        if (!longest)
            backoff = number(bits(level, entry, level.word_bits + 31, 32));
    }
    const int length = static_cast<int>(index) + 2;
    const WordId* ngram = words_.data() + kMaxOrder - length;
    if (++added_ > level.count || !builder.add(ngram, length, score * kLn10, backoff * kLn10))
        Bytes::refuse(level.at + entry * level.bits() / 8, "an n-gram has come before");
}

// Adds the n-grams of levels_[wanted] that end in the words of words_ so far.
void Trie::visit(LmBuilder& builder, std::size_t index, Range range, std::size_t wanted) {
    const Level& level = levels_[index];
    if (range.begin > range.end || range.end > level.count)
        Bytes::refuse(level.at, "n-grams are missing");
    for (std::uint64_t entry = range.begin; entry < range.end; ++entry) {
        const std::uint64_t word = bits(level, entry, 0, level.word_bits);
        if (word >= source_.num_words)
            Bytes::refuse(level.at + entry * level.bits() / 8, "an n-gram has a word that is none");
        words_[kMaxOrder - 2 - index] = static_cast<WordId>(word);
        if (index == wanted)
            add(builder, index, entry);
        else
            visit(builder, index + 1, this->range(index, entry), wanted);
    }
}

void Trie::add_all(LmBuilder& builder, const KenlmProgress& progress) {
    std::uint64_t total = 0, done = 0;
    for (const Level& level : levels_)
        total += level.count;
    for (std::uint64_t word = 0; word < source_.num_words; ++word) {
        const auto score = source_.bytes.read<float>(unigrams_at_ + 16 * word);
        const auto backoff = source_.bytes.read<float>(unigrams_at_ + 16 * word + 4);
        words_[0] = static_cast<WordId>(word);
        builder.add(words_.data(), 1, score * kLn10, backoff * kLn10);
    }
    builder.reserve(total);
    for (std::size_t wanted = 0; wanted < levels_.size(); ++wanted) {
        added_ = 0;
        for (std::uint64_t word = 0; word < source_.num_words; ++word) {
            words_[kMaxOrder - 1] = static_cast<WordId>(word);
            visit(builder, 0, unigram_range(word), wanted);
            if (word % 1024 == 0)
                progress(done + added_, total);
        }
        done += added_;
    }
}

}  // namespace

std::uint64_t end_of_trie(const Source& source) { return Trie(source).end(); }

void read_trie(const Source& source, LmBuilder& builder, const KenlmProgress& progress) {
    Trie(source).add_all(builder, progress);
}

}  // namespace sonant::kenlm
