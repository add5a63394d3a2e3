#include "align_band.h"

#include "best_path.h"

namespace sonant {

namespace {

constexpr float kSilence = 0.1f;  // share of the wildcard's cost in frames whose likeliest token is the blank

}  // namespace

void Band::read_row(std::size_t frame) {
    const float* values = task_.log_probs + frame * task_.num_columns;
    const float peak = highest(values, task_.num_columns);
    for (std::size_t i = 0; i < task_.num_columns; ++i)
        row_[i] = values[i] - peak;
    row_[task_.num_columns] = -(values[task_.blank] >= peak ? kSilence : 1.0f) * task_.wildcard_cost;
    row_[task_.num_columns + 1] = kNever;
}

void Band::advance(const float* blanks, const float* tokens, const std::int32_t* columns, const float* repeats,
                   const float* row, float blank, float* next_blanks, float* next_tokens, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const float before = tokens[static_cast<std::ptrdiff_t>(i) - 1];
        const float resting = blanks[i] > before ? blanks[i] : before;
        const float skipping = before + repeats[i];
        const float staying = tokens[i] > blanks[i] ? tokens[i] : blanks[i];
        next_blanks[i] = resting + blank;
        next_tokens[i] = (staying > skipping ? staying : skipping) + row[columns[i]];
    }
}

// Of ways that are equally good, staying is taken first, then the nearer one, as torchaudio does.
void Band::note_ways(std::size_t begin, std::size_t end, std::vector<std::uint8_t>& ways) const {
    for (std::size_t i = begin; i < end; ++i) {
        const float stay = tokens_[i + 1], rest = blanks_[i + 1], before = tokens_[i], skip = before + repeats_[i];
        const bool skips = skip > rest && skip > stay;
        const int token = skips ? kFromToken : rest > stay ? kFromBlank : 0;
        ways.push_back(static_cast<std::uint8_t>(token | (before > rest ? kBlankFromToken : 0)));
    }
}

void Band::leave_out(float cut, std::vector<std::uint8_t>* ways) {
    const auto& begins = task_.unit_begins;
    auto unit = static_cast<std::size_t>(std::lower_bound(begins.begin(), begins.end(), lo_) - begins.begin());
    for (; unit < begins.size() && begins[unit] < hi_; ++unit) {
        const float score = blank(begins[unit]) - task_.unit_costs[unit];
        const std::size_t to = task_.unit_ends[unit];
        if (to >= hi_) {
            if (!(score > kNever && score >= cut))
                continue;
            for (; hi_ <= to; ++hi_) {
                blank(hi_) = token(hi_) = kNever;
                if (ways)
                    ways->push_back(0);
            }
        }
        if (score > blank(to)) {
            blank(to) = score;
            if (ways)
                (*ways)[ways->size() - (hi_ - to)] |= kLeftOut;
        }
    }
}

}  // namespace sonant
