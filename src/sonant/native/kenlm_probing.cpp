// KenLM's hash tables. They hold no words but 64-bit keys made of them:
//
//   key(w) = w,  key(w1 w2 ... wn) = key(w2 ... wn) * A xor (1 + w1) * B
//
// An n-gram is found again by trying which stored n-grams of one word less, one that goes on to the right and one that
// goes on to the left and that agree in all words between, make a stored key. The flags of the format say which go on.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kenlm.h"

namespace sonant::kenlm {

namespace {

constexpr std::uint64_t kA = 8978948897894561157u, kB = 17894857484156487943u;
constexpr std::uint64_t kMostPairs = 500'000'000'000;  // most of an hour
constexpr std::uint64_t kPairsATick = 1 << 28;
constexpr std::uint32_t kNone = 0xffffffff;

struct Gram {
    std::uint64_t key;
    float score, backoff;
    bool goes_left;  // a longer n-gram ends in this one
    WordId first = 0, last = 0;
    std::uint32_t prefix = kNone, suffix = kNone;  // among those of one word less

    bool goes_right() const { return !(backoff == 0.0f && std::signbit(backoff)); }  // minus zero says it does not
};

// Two bits for each key, in tables made from opposite ends of it: what passes both is nearly always there.
class Sieve {
  public:
    explicit Sieve(const std::vector<Gram>& grams) {
        while (shift_ > 16 && (1ull << (64 - shift_)) < 32 * grams.size())
            --shift_;
        const std::size_t words = (std::size_t{1} << (64 - shift_)) / 64;
        upper_.assign(words, 0);
        lower_.assign(words, 0);
        for (const Gram& gram : grams) {
            upper_[gram.key >> shift_ >> 6] |= 1ull << ((gram.key >> shift_) & 63);
            lower_[low(gram.key) >> 6] |= 1ull << (gram.key & 63);
        }
    }

    bool passes(std::uint64_t key) const {
        return ((upper_[key >> shift_ >> 6] >> ((key >> shift_) & 63)) & 1) != 0 &&
               ((lower_[low(key) >> 6] >> (key & 63)) & 1) != 0;
    }

  private:
    std::uint64_t low(std::uint64_t key) const { return key & ((1ull << (64 - shift_)) - 1); }

    unsigned shift_ = 54;
    std::vector<std::uint64_t> upper_, lower_;
};

// The stored n-grams of an order above one, by key.
std::vector<Gram> read_table(const Source& source, std::uint64_t at, std::uint32_t index) {
    const bool longest = index + 1 == source.header.order;
    const std::uint64_t width = longest ? 12 : source.header.kind == rest_probing ? 20 : 16;
    std::vector<Gram> grams;
    grams.reserve(static_cast<std::size_t>(source.header.counts[index]));
    for (std::uint64_t place = table_places(source.header.counts[index], source.header.multiplier); place > 0; --place) {
        Gram gram{};
        gram.key = source.bytes.read<std::uint64_t>(at);
        const auto score = source.bytes.read<float>(at + 8);
        gram.goes_left = !std::signbit(score);
        gram.score = -std::fabs(score);
        gram.backoff = longest ? 0.0f : source.bytes.read<float>(at + 12);
        gram.prefix = gram.suffix = kNone;
        if (gram.key != 0)
            grams.push_back(gram);
        at += width;
    }
    std::sort(grams.begin(), grams.end(), [](const Gram& a, const Gram& b) { return a.key < b.key; });
    return grams;
}

std::vector<Gram> read_unigrams(const Source& source) {
    const std::uint64_t width = source.header.kind == rest_probing ? 12 : 8;
    std::vector<Gram> grams;
    for (std::uint64_t word = 0; word < source.num_words; ++word) {
        Gram gram{};
        const auto score = source.bytes.read<float>(source.at + word * width);
        gram.key = word;
        gram.score = -std::fabs(score);
        gram.backoff = source.bytes.read<float>(source.at + word * width + 4);
        gram.goes_left = !std::signbit(score);
        gram.first = gram.last = static_cast<WordId>(word);
        gram.prefix = gram.suffix = 0;  // all have the empty middle
        grams.push_back(gram);
    }
    return grams;
}

// The numbers of those that satisfy `wanted`, by `middle`.
template <typename Wanted, typename Middle>
std::vector<std::uint32_t> sorted(const std::vector<Gram>& grams, Wanted wanted, Middle middle) {
    std::vector<std::uint32_t> result;
    for (std::size_t i = 0; i < grams.size(); ++i)
        if (wanted(grams[i]))
            result.push_back(static_cast<std::uint32_t>(i));
    std::sort(result.begin(), result.end(), [&](std::uint32_t a, std::uint32_t b) {
        return std::make_pair(middle(grams[a]), grams[a].key * kA) < std::make_pair(middle(grams[b]), grams[b].key * kA);
    });
    return result;
}

// Finds the words of `longer`, n-grams of one word more than `shorter`.
class Search {
  public:
    Search(const std::vector<Gram>& shorter, std::vector<Gram>& longer, const KenlmProgress& progress)
        : shorter_(shorter), longer_(longer), sieve_(longer), progress_(progress) {
        lefts_ = sorted(shorter, [](const Gram& g) { return g.goes_right(); }, [](const Gram& g) { return g.suffix; });
        rights_ = sorted(shorter, [](const Gram& g) { return g.goes_left; }, [](const Gram& g) { return g.prefix; });
    }

    void run() {
        std::uint64_t pairs = 0;
        each_middle([&pairs](auto left, auto left_end, auto right, auto right_end) {
            pairs += static_cast<std::uint64_t>(left_end - left) * static_cast<std::uint64_t>(right_end - right);
        });
        if (pairs > kMostPairs)
            throw std::runtime_error("its hash tables hold too many words to be read; convert the ARPA file it was made of");
        total_ = pairs;
        each_middle([this](auto left, auto left_end, auto right, auto right_end) {
            try_all(left, left_end, right, right_end);
        });
        for (const Gram& gram : longer_)
            if (gram.prefix == kNone)
                throw std::runtime_error("its hash tables hold an n-gram that no words make; it is damaged");
    }

  private:
    using Place = std::vector<std::uint32_t>::const_iterator;

    template <typename Visit>
    void each_middle(Visit visit) const {
        for (Place left = lefts_.begin(), right = rights_.begin(); left != lefts_.end();) {
            const std::uint32_t middle = shorter_[*left].suffix;
            Place left_end = left, right_end;
            while (left_end != lefts_.end() && shorter_[*left_end].suffix == middle)
                ++left_end;
            while (right != rights_.end() && shorter_[*right].prefix < middle)
                ++right;
            for (right_end = right; right_end != rights_.end() && shorter_[*right_end].prefix == middle;)
                ++right_end;
            visit(left, left_end, right, right_end);
            left = left_end;
            right = right_end;
        }
    }

    void try_all(Place left, Place left_end, Place right, Place right_end) {
        ends_.clear();  // sorted, so that the sieve is walked through nearly in order
        for (Place place = right; place != right_end; ++place)
            ends_.push_back(shorter_[*place].key * kA);
        for (; left != left_end; ++left) {
            const std::uint64_t begin = (1 + std::uint64_t{shorter_[*left].first}) * kB;
            for (std::size_t i = 0; i < ends_.size(); ++i)
                if (sieve_.passes(ends_[i] ^ begin))
                    settle(ends_[i] ^ begin, *left, *(right + static_cast<std::ptrdiff_t>(i)));
            done_ += ends_.size();
            if (done_ - told_ > kPairsATick) {
                told_ = done_;
                progress_(done_, total_);
            }
        }
    }

    void settle(std::uint64_t key, std::uint32_t prefix, std::uint32_t suffix) {
        const auto found = std::lower_bound(longer_.begin(), longer_.end(), key,
                                            [](const Gram& gram, std::uint64_t wanted) { return gram.key < wanted; });
        if (found == longer_.end() || found->key != key || found->prefix != kNone)
            return;
        found->first = shorter_[prefix].first;
        found->last = shorter_[suffix].last;
        found->prefix = prefix;
        found->suffix = suffix;
    }

    const std::vector<Gram>& shorter_;
    std::vector<Gram>& longer_;
    const Sieve sieve_;
    const KenlmProgress& progress_;
    std::vector<std::uint32_t> lefts_, rights_;
    std::vector<std::uint64_t> ends_;
    std::uint64_t total_ = 0, done_ = 0, told_ = 0;
};

}  // namespace

std::uint64_t end_of_probing(const Source& source) {
    const auto& counts = source.header.counts;
    const bool rest = source.header.kind == rest_probing;
    std::uint64_t at = source.at + (counts[0] + 1) * (rest ? 12 : 8);
    for (std::size_t n = 1; n + 1 < counts.size(); ++n)
        at += table_places(counts[n], source.header.multiplier) * (rest ? 20 : 16);
    return at + table_places(counts.back(), source.header.multiplier) * 12;
}

void read_probing(const Source& source, LmBuilder& builder, const KenlmProgress& progress) {
    const auto& counts = source.header.counts;
    const bool rest = source.header.kind == rest_probing;
    std::vector<std::vector<Gram>> orders{read_unigrams(source)};
    for (const Gram& gram : orders[0])
        builder.add(&gram.first, 1, gram.score * kLn10, gram.backoff * kLn10);
    builder.reserve(std::accumulate(counts.begin() + 1, counts.end(), std::uint64_t{0}));
    std::uint64_t at = source.at + (counts[0] + 1) * (rest ? 12 : 8);
    std::vector<WordId> ngram;
    for (std::uint32_t index = 1; index < counts.size(); ++index) {
        orders.push_back(read_table(source, at, index));
        Search(orders[index - 1], orders[index], progress).run();
        for (const Gram& gram : orders[index]) {
            ngram.assign(1, gram.last);  // then the last words of its prefixes, each shorter than the one before
            std::uint32_t prefix = gram.prefix;
            for (std::uint32_t n = index; n-- > 0; prefix = orders[n][prefix].prefix)
                ngram.push_back(orders[n][prefix].last);
            std::reverse(ngram.begin(), ngram.end());
            builder.add(ngram.data(), static_cast<int>(index) + 1, gram.score * kLn10, gram.backoff * kLn10);
        }
        at += table_places(counts[index], source.header.multiplier) * (rest ? 20 : 16);
    }
}

}  // namespace sonant::kenlm
