// The best token of every frame, as runs of equal tokens.
// T frames, V tokens.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace sonant {

struct Runs {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> first_frames;
    std::vector<float> peaks;  // highest log-probability of the token within its run
    double total = 0.0;        // sum over all frames of the best log-probability
};

// Several running maxima: one alone may not be reordered into vector instructions without -ffast-math.
template <std::size_t lanes>
float highest_in_lanes(const float* values, std::size_t size) {
    std::array<float, lanes> best;
    best.fill(-std::numeric_limits<float>::infinity());
    if (size < lanes) {
        for (std::size_t i = 0; i < size; ++i)
            best[0] = values[i] > best[0] ? values[i] : best[0];
        return best[0];
    }
    for (std::size_t i = 0; i < size; i += lanes) {
        const float* at = values + std::min(i, size - lanes);  // the last ones may be looked at twice
        for (std::size_t lane = 0; lane < lanes; ++lane)
            best[lane] = at[lane] > best[lane] ? at[lane] : best[lane];
    }
    return *std::max_element(best.begin(), best.end());
}

// The highest of `size` >= 1 values; minus infinity where all are NaN.
inline float highest(const float* values, std::size_t size) {
    // In short rows four lanes are four times as fast as sixteen, in long ones sixteen half again as fast as four.
    return size < 128 ? highest_in_lanes<4>(values, size) : highest_in_lanes<16>(values, size);
}

// Row-major (T, V) log-probabilities to runs; of tokens that tie, the lowest wins. V >= 1 unless T is 0.
inline Runs best_path(const float* log_probs, std::size_t num_frames, std::size_t num_tokens) {
    Runs runs;
    runs.tokens.reserve(num_frames);
    runs.first_frames.reserve(num_frames);
    runs.peaks.reserve(num_frames);
    std::int32_t previous = -1;
    for (std::size_t t = 0; t < num_frames; ++t) {
        const float* row = log_probs + t * num_tokens;
        const float peak = highest(row, num_tokens);
        const float* found = std::find(row, row + num_tokens, peak);
        const auto token = found == row + num_tokens ? 0 : static_cast<std::int32_t>(found - row);
        runs.total += static_cast<double>(peak);
        if (token == previous) {
            runs.peaks.back() = std::max(runs.peaks.back(), peak);
            continue;
        }
        runs.tokens.push_back(token);
        runs.first_frames.push_back(static_cast<std::int32_t>(t));
        runs.peaks.push_back(peak);
        previous = token;
    }
    return runs;
}

}  // namespace sonant
