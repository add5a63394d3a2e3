// Readings out of a beam: the best of each hypothesis, and by way of their rivals more of other texts (after E. Lawler,
// 1972: each reading that is taken gives rise to those that differ from it further left).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "beam.h"

namespace sonant {

class NBest {
public:
    explicit NBest(const BeamState& state) : state_(state), paths_(state.paths_) {}

    std::vector<Reading> best(std::size_t count) const;

    // Words `first` up to the one at `end`, with their letters.
    Reading words(std::uint32_t end, std::size_t first) const;

private:
    // Where a reading leaves the path at the link `at`, to go on leftwards from `to`.
    struct Detour {
        std::uint32_t at, to;
    };
    // A hypothesis at the end of the recording, its last word closed, and how it differs from the path it followed.
    struct End {
        std::uint32_t hypothesis = 0;
        bool open_word = false;  // `closed` follows the words of the path
        Closing closed{};
        std::uint64_t text = 0;
        double score = 0.0, acoustic = 0.0, lm = 0.0;
        std::vector<Detour> detours{};  // the last one is the leftmost
    };

    std::vector<End> ends() const;
    void add_end(std::uint32_t i, const Closing* closed, float penalty, std::vector<End>& found) const;
    std::vector<std::uint32_t> links(const End& end) const;
    void add_detours(const End& end, std::vector<End>& waiting) const;
    Reading reading(const End& end) const;
    void add_word(std::uint32_t link, Reading& reading) const;
    void add_letters(std::uint32_t after, std::uint32_t last, Reading& reading) const;

    const BeamState& state_;
    const Paths& paths_;
};

}  // namespace sonant
