// The best token of every frame, as runs of equal tokens: the whole of greedy CTC decoding that is worth compiling.
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

// The highest of `size` >= 1 values; minus infinity where all are NaN.
inline float highest(const float* values, std::size_t size) {
    // Several running maxima: one alone may not be reordered into vector instructions without -ffast-math.
    constexpr std::size_t lanes = 16;
    std::array<float, lanes> best;
    best.fill(-std::numeric_limits<float>::infinity());
    std::size_t i = 0;
    for (; i + lanes <= size; i += lanes)
        for (std::size_t lane = 0; lane < lanes; ++lane)
            best[lane] = values[i + lane] > best[lane] ? values[i + lane] : best[lane];
    for (std::size_t lane = 0; i + lane < size; ++lane)
        best[lane] = values[i + lane] > best[lane] ? values[i + lane] : best[lane];
    return *std::max_element(best.begin(), best.end());
}

// Row-major (T, V) log-probabilities to runs; of tokens that tie, the lowest wins. V >= 1 unless T is 0.
inline Runs best_path(const float* log_probs, std::size_t num_frames, std::size_t num_tokens) {
    Runs runs;
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
