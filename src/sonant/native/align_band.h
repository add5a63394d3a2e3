// The cells of one frame, from the first to the last that may matter, and the step to the next frame.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "align.h"
#include "log_add.h"

namespace sonant {

// A column of cells as it was before some frame.
struct Column {
    std::size_t frame = 0, lo = 0;
    std::vector<float> blanks, tokens;
    std::size_t bytes() const noexcept { return sizeof(Column) + 2 * blanks.size() * sizeof(float); }
};

// How a cell was reached: its token from itself, from the blank before it, or from the token before; its blank from
// itself or the token before; or its blank by leaving out the unit that ends there.
enum Way : std::uint8_t { kFromBlank = 1, kFromToken = 2, kBlankFromToken = 4, kLeftOut = 8 };

class Band {
public:
    explicit Band(const AlignTask& task) : task_(task) {
        const std::size_t size = task.tokens.size() + 3;  // a neighbour on either side may be asked for
        for (auto* scores : {&blanks_, &tokens_, &next_blanks_, &next_tokens_})
            scores->assign(size, kNever);
        columns_.assign(task.tokens.begin(), task.tokens.end());
        columns_.push_back(static_cast<std::int32_t>(task.num_columns + 1));
        repeats_.assign(columns_.size(), 0.0f);
        for (std::size_t i = 1; i < task.tokens.size(); ++i)
            repeats_[i] = task.tokens[i] == task.tokens[i - 1] ? kNever : 0.0f;
        row_.assign(task.num_columns + 2, 0.0f);
        clear();
    }

    // Before the first frame.
    void clear() {
        lo_ = 0;
        hi_ = 1;
        blank(0) = 0.0f;
        token(0) = kNever;
        leave_out(kNever, nullptr);
    }

    void load(const Column& column) {
        lo_ = column.lo;
        hi_ = lo_ + column.blanks.size();
        std::copy(column.blanks.begin(), column.blanks.end(), blanks_.begin() + offset(lo_));
        std::copy(column.tokens.begin(), column.tokens.end(), tokens_.begin() + offset(lo_));
    }

    Column save(std::size_t frame) const {
        return {frame, lo_, {blanks_.begin() + offset(lo_), blanks_.begin() + offset(hi_)},
                {tokens_.begin() + offset(lo_), tokens_.begin() + offset(hi_)}};
    }

    std::size_t lo() const noexcept { return lo_; }
    std::size_t hi() const noexcept { return hi_; }
    bool empty() const noexcept { return lo_ >= hi_; }
    bool holds(std::size_t i) const noexcept { return i >= lo_ && i < hi_; }
    float blank_score(std::size_t i) const noexcept { return holds(i) ? blanks_[i + 1] : kNever; }
    float token_score(std::size_t i) const noexcept { return holds(i) ? tokens_[i + 1] : kNever; }

    float best() const noexcept {
        float found = kNever;
        for (std::size_t i = lo_; i < hi_; ++i)
            found = std::max(found, std::max(blanks_[i + 1], tokens_[i + 1]));
        return found;
    }

    void shift(float amount) noexcept {
        for (std::size_t i = lo_; i < hi_; ++i) {
            blanks_[i + 1] -= amount;
            tokens_[i + 1] -= amount;
        }
    }

    // One frame on. Cells that are added at the upper edge by leaving out a unit must reach `cut`. `ways`, where not
    // null, gets how each cell from the old lower edge on was reached.
    void step(std::size_t frame, float cut, std::vector<std::uint8_t>* ways) {
        read_row(frame);
        const std::size_t begin = lo_, end = std::min(hi_ + 1, columns_.size());
        if (end > hi_)
            blank(hi_) = token(hi_) = kNever;
        tokens_[begin] = kNever;  // of the cell below the lowest
        if (ways)
            note_ways(begin, end, *ways);
        advance(blanks_.data() + 1 + begin, tokens_.data() + 1 + begin, columns_.data() + begin,
                repeats_.data() + begin, row_.data(), row_[task_.blank], next_blanks_.data() + 1 + begin,
                next_tokens_.data() + 1 + begin, end - begin);
        blanks_.swap(next_blanks_);
        tokens_.swap(next_tokens_);
        hi_ = end;
        leave_out(cut, ways);
    }

    // Gives up cells at both edges that are below `cut`.
    void narrow(float cut) noexcept {
        while (lo_ < hi_ && !(std::max(blanks_[hi_], tokens_[hi_]) >= cut))
            --hi_;
        while (lo_ < hi_ && !(std::max(blanks_[lo_ + 1], tokens_[lo_ + 1]) >= cut))
            ++lo_;
    }

    void raise(std::size_t lo) noexcept { lo_ = std::max(lo_, lo); }
    void lower(std::size_t hi) noexcept { hi_ = std::min(hi_, hi); }

private:
    float& blank(std::size_t i) noexcept { return blanks_[i + 1]; }
    float& token(std::size_t i) noexcept { return tokens_[i + 1]; }
    static std::ptrdiff_t offset(std::size_t i) noexcept { return static_cast<std::ptrdiff_t>(i + 1); }

    void read_row(std::size_t frame);
    void note_ways(std::size_t begin, std::size_t end, std::vector<std::uint8_t>& ways) const;
    void leave_out(float cut, std::vector<std::uint8_t>* ways);
    static void advance(const float* blanks, const float* tokens, const std::int32_t* columns, const float* repeats,
                        const float* row, float blank, float* next_blanks, float* next_tokens, std::size_t count);

    const AlignTask& task_;
    std::size_t lo_ = 0, hi_ = 0;
    std::vector<float> blanks_, tokens_, next_blanks_, next_tokens_;  // cell i at i + 1
    std::vector<std::int32_t> columns_;                              // by cell; the last cell has no token
    std::vector<float> repeats_;  // by cell: minus infinity where its token is that of the cell before
    std::vector<float> row_;      // the frame less its best value, then the wildcard and minus infinity
};

}  // namespace sonant
