// Many scores as few: the values that come closest to them in mean square (Lloyd, Least squares quantization in PCM,
// IEEE Transactions on Information Theory 1982).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sonant {

class ScoreTable {
  public:
    // At most `size` values for these scores, none of which may be NaN; where no more are different, just those.
    ScoreTable(std::vector<float> scores, std::size_t size);

    // Of the nearest value.
    std::uint32_t number_of(float score) const noexcept {
        return static_cast<std::uint32_t>(std::upper_bound(limits_.begin(), limits_.end(), score) - limits_.begin());
    }
    const std::vector<float>& values() const noexcept { return values_; }  // ascending, filled up to the size

  private:
    std::vector<float> values_, limits_;  // limits_[i] lies between the values i and i + 1
};

}  // namespace sonant
