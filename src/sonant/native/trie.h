// A trie of token sequences in breadth-first order: the children of a node lie side by side, in the order of their
// tokens. Any size of vocabulary, any number of entries at a node.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

namespace sonant {

// Entry e spells tokens[offsets[e]] up to tokens[offsets[e + 1]]; it is found at its last node under `values[e]`.
struct Spellings {
    std::vector<std::uint32_t> tokens;
    std::vector<std::size_t> offsets{0};
    std::vector<std::uint32_t> values;

    void add(const std::vector<std::uint32_t>& spelling, std::uint32_t value) {
        tokens.insert(tokens.end(), spelling.begin(), spelling.end());
        offsets.push_back(tokens.size());
        values.push_back(value);
    }
    std::size_t size() const { return values.size(); }
    std::size_t length(std::size_t entry) const { return offsets[entry + 1] - offsets[entry]; }
    const std::uint32_t* begin(std::size_t entry) const { return tokens.data() + offsets[entry]; }
};

class Trie {
public:
    using Node = std::uint32_t;
    static constexpr Node kRoot = 0;
    static constexpr Node kNone = 0;  // as a child: the root is nobody's

    Trie() : Trie(Spellings{}, 1) {}

    // `alphabet` is one more than the highest token. Empty spellings have no node and are the caller's to refuse.
    Trie(const Spellings& entries, std::size_t alphabet) : narrow_(alphabet <= 64) {
        struct Range {
            std::size_t begin, end;
        };
        std::vector<std::size_t> order(entries.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return std::lexicographical_compare(entries.begin(a), entries.begin(a) + entries.length(a),
                                                entries.begin(b), entries.begin(b) + entries.length(b));
        });
        std::vector<Range> ranges{{0, order.size()}};
        labels_.push_back(0);
        depths_.push_back(0);
        for (std::size_t node = 0; node < ranges.size(); ++node) {
            const std::uint32_t depth = depths_[node];
            auto [begin, end] = ranges[node];
            cells_.push_back({0, index(ranges.size()), index(values_.size())});
            for (; begin < end && entries.length(order[begin]) == depth; ++begin)
                values_.push_back(entries.values[order[begin]]);
            while (begin < end) {
                const std::uint32_t token = entries.begin(order[begin])[depth];
                std::size_t next = begin;
                while (next < end && entries.begin(order[next])[depth] == token)
                    ++next;
                cells_[node].mask |= bit(token);
                labels_.push_back(token);
                depths_.push_back(depth + 1);
                ranges.push_back({begin, next});
                begin = next;
            }
        }
        cells_.push_back({0, index(ranges.size()), index(values_.size())});  // so that every node has a successor
    }

    std::size_t size() const noexcept { return labels_.size(); }

    Node child(Node node, std::uint32_t token) const noexcept {
        const Cell& cell = cells_[node];
        const std::uint64_t flag = bit(token);
        if (!(cell.mask & flag))
            return kNone;
        if (narrow_)
            return cell.first + count_ones(cell.mask & (flag - 1));
        const auto begin = labels_.begin() + cell.first, end = labels_.begin() + cells_[node + 1].first;
        const auto found = std::lower_bound(begin, end, token);
        return found != end && *found == token ? static_cast<Node>(found - labels_.begin()) : kNone;
    }

    Node first_child(Node node) const noexcept { return cells_[node].first; }
    Node end_child(Node node) const noexcept { return cells_[node + 1].first; }
    std::uint32_t label(Node node) const noexcept { return labels_[node]; }
    std::uint32_t depth(Node node) const noexcept { return depths_[node]; }

    const std::uint32_t* begin(Node node) const noexcept { return values_.data() + cells_[node].values; }
    const std::uint32_t* end(Node node) const noexcept { return values_.data() + cells_[node + 1].values; }

    // For every node the highest `score(value)` of the entries at and below it.
    template <typename Score>
    std::vector<float> best_below(Score&& score) const {
        std::vector<float> best(size(), -std::numeric_limits<float>::infinity());
        for (std::size_t node = size(); node-- > 0;) {
            const auto n = static_cast<Node>(node);
            for (const std::uint32_t* value = begin(n); value != end(n); ++value)
                best[node] = std::max(best[node], static_cast<float>(score(*value)));
            for (Node below = first_child(n); below != end_child(n); ++below)
                best[node] = std::max(best[node], best[below]);
        }
        return best;
    }

private:
    struct Cell {
        std::uint64_t mask;   // which tokens lead on; of wider alphabets, which of 64 classes of them
        std::uint32_t first;  // the first child
        std::uint32_t values;
    };

    static std::uint64_t bit(std::uint32_t token) noexcept { return std::uint64_t{1} << (token & 63); }
    static std::uint32_t count_ones(std::uint64_t x) noexcept {  // C++17 has no portable instruction for it
        x -= (x >> 1) & 0x5555555555555555u;
        x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
        x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
        return static_cast<std::uint32_t>((x * 0x0101010101010101u) >> 56);
    }
    static std::uint32_t index(std::size_t i) {
        if (i >= 0xFFFFFFFFu)
            throw std::length_error("a lexicon has at most 4 thousand million letters");
        return static_cast<std::uint32_t>(i);
    }

    bool narrow_;
    std::vector<Cell> cells_;
    std::vector<std::uint32_t> labels_, depths_, values_;
};

}  // namespace sonant
