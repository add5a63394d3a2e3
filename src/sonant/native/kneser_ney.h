// Interpolated modified Kneser-Ney n-gram models from text, in memory that does not grow with the text but for its
// different words: the parts in turn.
//
//   TextCounter -> sorted n-grams of the highest order -> adjust_counts -> all orders, sorted by their contexts
//   -> discount_grams, longest first -> interpolate_grams, shortest first -> ModelSink
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adjusted_counts.h"
#include "lm_builder.h"
#include "row_sort.h"
#include "smoothing.h"
#include "text_counter.h"

namespace sonant {

// Where a model goes: n-grams of order 1 first, each order's one after the other.
class ModelSink {
  public:
    virtual ~ModelSink() = default;
    // `counts`: n-grams to come, by order from 1. The words live as long as the sink is fed.
    virtual void begin(const Words& words, const std::vector<std::uint64_t>& counts) = 0;
    // As TakeResult: words in the order of the text, log10 of the probability and of the backoff weight.
    virtual void add(int order, const std::uint32_t* words, float log_prob, float log_backoff) = 0;
    virtual void end() = 0;
};

struct EstimateSettings {
    int order = 3;                              // 1 to max_keys
    std::vector<std::uint64_t> thresholds;      // by order from 1 (index 0 unused)
    std::optional<std::vector<std::string>> allowed_words;  // n-grams with others are left out
    bool skip_marks = false;
    std::size_t memory = 0;                     // bytes for buffers
    std::string folder;                         // of temporary files
};

// What became of a text. By order from 1: n-grams found and kept, discounts.
struct Estimate {
    std::uint64_t num_sentences = 0, num_words = 0, num_skipped = 0, num_types = 0;
    std::vector<std::uint64_t> found, kept;
    std::vector<Discount> discounts;
};

class KneserNey {
  public:
    explicit KneserNey(EstimateSettings settings);

    TextCounter& text() { return text_; }
    // Once, after all text. An order that keeps no n-gram is left out of the model, and so are all above it.
    Estimate finish(const std::vector<ModelSink*>& sinks, const Tick& tick);

  private:
    void adjust(const Tick& tick);
    void discount(const Tick& tick);
    void interpolate(const std::vector<ModelSink*>& sinks, const Tick& tick);
    std::unique_ptr<RowSorter> context_sorter(int order, bool longest) const;
    Pruning pruning() const;

    EstimateSettings settings_;
    int order_;  // of the model: the highest that keeps n-grams
    Words words_;
    std::unique_ptr<RowSorter> rows_;
    TextCounter text_;
    Unigrams unigrams_;
    std::vector<OrderCounts> counts_;                    // by order
    std::vector<Discount> discounts_;                    // by order
    std::unique_ptr<RowSorter> longest_;                 // context rows of the model's highest order
    std::vector<std::unique_ptr<RowFile>> waiting_;      // by order: adjusted counts in suffix order
    std::vector<std::unique_ptr<RowFile>> discounted_;   // by order: context rows
};

}  // namespace sonant
