// Forced alignment: the likeliest way through (T, V) log-probabilities that spells given tokens, by CTC's rules.
//
// A cell is a token and the blank before it. Each frame's best score is taken off, so no path ever gains. A first sweep
// keeps the cells near the best one and finds some path, of score B. A second keeps every cell whose score is at least
// B: no path as good as B is lost, so what it finds is the best one. Sweeps remember some columns of cells only; the way
// is traced between two of them through what is no worse than the later one's score, which is little.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sonant {

struct AlignTask {
    const float* log_probs = nullptr;  // (T, V), row-major, each row with a finite value
    std::size_t num_frames = 0, num_columns = 0;
    std::vector<std::int32_t> tokens;  // columns; num_columns is the wildcard, likely as the best of each frame
    std::size_t blank = 0;
    float wildcard_cost = 0.0f;  // a frame; a tenth of it where the blank is likeliest
    // Units that may be left out where the audio lacks them, in order and apart from each other: tokens
    // [unit_begins[i], unit_ends[i]) for unit_costs[i] >= 0. Ahead of such a unit there must be a blank, or nothing.
    std::vector<std::size_t> unit_begins, unit_ends;
    std::vector<float> unit_costs;
};

struct AlignOptions {
    float threshold = 100.0f;     // of the first sweep: cells so far below the best one are given up, at both edges
    bool exact = true;            // whether the second sweep follows
    std::size_t memory = 1 << 30;  // bytes, as far as it can be kept to
    // That the second sweep may look at, and so may those that repeat a first one in vain; a minute's work or two.
    std::uint64_t most_cells = std::uint64_t{1} << 36;
};

enum class Proof { none, pruned, exact };  // none: no path at all, or too many cells

struct Aligned {
    Proof proof = Proof::none;
    std::vector<std::int32_t> starts, ends;  // frames of each token; none for those left out, where they would stand
    double score = 0.0;                      // sum of the log-probabilities along the way, costs left out
    std::uint64_t num_cells = 0;             // that were looked at
};

Aligned align(const AlignTask& task, const AlignOptions& options);

}  // namespace sonant
