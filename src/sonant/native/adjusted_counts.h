// From the counts of the longest n-grams to the adjusted counts of all orders, and the discounts that follow from them.
//
// Section 3 of Heafield, Pouzyrevsky, Clark, Koehn: Scalable modified Kneser-Ney language model estimation (ACL 2013);
// discounts by equation (26) of Chen, Goodman: An empirical study of smoothing techniques (TR-10-98, 1998).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "row_sort.h"

namespace sonant {

// Called now and then with what is being done and how far it is; what it throws ends the work.
using Tick = std::function<void(const std::string& stage, std::uint64_t done, std::uint64_t total)>;

// Calls a tick once in many steps.
class Steps {
  public:
    Steps(const Tick& tick, std::string stage, std::uint64_t total)
        : tick_(tick), stage_(std::move(stage)), total_(total) {}
    void take(std::uint64_t done) {
        if ((++taken_ & 0xFFFF) == 0)
            tick_(stage_, done, total_);
    }

  private:
    const Tick& tick_;
    std::string stage_;
    std::uint64_t total_, taken_ = 0;
};

// Which n-grams a model leaves out.
struct Pruning {
    std::vector<std::uint64_t> thresholds;  // by order from 1 (index 0 unused): counts up to it, not decreasing
    std::vector<char> banned;               // by word: n-grams that hold it; words beyond its end are not banned

    bool drops(const std::uint32_t* words, int order, std::uint64_t count) const;
};

// What the n-grams of one order number.
struct OrderCounts {
    std::array<std::uint64_t, 5> with_count{};  // by adjusted count
    std::uint64_t total = 0, kept = 0;          // before pruning, and after
};

// What is taken from adjusted counts of one, two, and three and more.
struct Discount {
    std::array<double, 4> amount{};  // the first is zero
    bool estimated = true;           // or a fallback, because the counts of counts allow no estimate

    double of(std::uint64_t count) const { return amount[count < 3 ? count : 3]; }
};

constexpr std::uint64_t pruned_bit = std::uint64_t{1} << 63;  // of a count that is stored

// Takes an n-gram of any order, its words from the last to the first, and its adjusted count with the pruned bit.
using TakeGram = std::function<void(int order, const std::uint32_t* words, std::uint64_t count)>;

// Hands on all n-grams: those of one order are in the order of their words from the last to the first. `full` holds the
// n-grams of the highest order with their counts. The adjusted count of an n-gram of a lower order is the number of
// words before it, or its plain count where it begins a sentence. By order, index 0 unused.
std::vector<OrderCounts> adjust_counts(MergedRows& full, int order, const Pruning& pruning, const TakeGram& take,
                                       const Tick& tick);

Discount estimate_discount(const OrderCounts& counts);

}  // namespace sonant
