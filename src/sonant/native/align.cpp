#include "align.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "align_band.h"
#include "best_path.h"

namespace sonant {

namespace {

constexpr std::size_t kInterval = 512;  // frames between two columns, before memory makes them fewer
constexpr float kWidening = 3.0f;       // of the threshold, where it left no path
constexpr float kRest = 10.0f;          // thresholds that leaving out the rest of the text may cost in the last frame
constexpr float kWidest = 1e6f;         // threshold above which nothing is given up
constexpr double kRounding = 1.0;       // natural logarithms that single precision may be wrong by near the best cells
constexpr double kRoundoff = 6e-8;      // of single precision, relative
constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();
constexpr float kLowest = std::numeric_limits<float>::lowest();

class Search {
public:
    Search(const AlignTask& task, const AlignOptions& options)
        : task_(task), options_(options), band_(task), num_tokens_(task.tokens.size()), needed_(num_tokens_ + 1, 0) {
        for (std::size_t i = num_tokens_ > 1 ? num_tokens_ - 1 : 0; i-- > 0;)
            needed_[i] = needed_[i + 1] + 1 + (task.tokens[i] == task.tokens[i + 1]);
        found_.starts.assign(num_tokens_, 0);
        found_.ends.assign(num_tokens_, 0);
    }

    Aligned run() {
        find_some_path();
        if (found_.proof == Proof::none)
            return std::move(found_);
        if (options_.exact && found_.proof == Proof::pruned)
            prove();
        for (std::size_t until = task_.num_frames; !columns_.empty(); columns_.pop_back()) {
            trace(columns_.back(), until);
            until = columns_.back().frame;
        }
        for (std::size_t i = 0; !end_.in_token && i < end_.cell; ++i)
            found_.starts[i] = found_.ends[i] = 0;  // left out before the first frame
        found_.score = score();
        return std::move(found_);
    }

private:
    struct End {  // of the way, as far as it is not traced yet
        std::size_t cell = 0;
        bool in_token = false;
        double total = 0.0;
    };
    struct Row {
        std::size_t lo, offset;
    };

    // Gives up less and less until there is a path, or too many cells were looked at after the first try.
    void find_some_path() {
        for (threshold_ = options_.threshold;; threshold_ *= kWidening) {
            const bool whole = !(threshold_ <= kWidest);
            const bool found = sweep(whole ? -kNever : threshold_, 0.0);
            found_.proof = !found ? Proof::none : whole ? Proof::exact : Proof::pruned;
            if (whole || found || found_.num_cells > most_cells_)
                return;
            most_cells_ = std::min(most_cells_, found_.num_cells + options_.most_cells);
        }
    }

    // Keeps every cell that may be on a path as good as the one found; where they are too many, that one stays.
    void prove() {
        // Far from the best cell scores are large and each frame may round them: such cells are kept in doubt.
        const double doubt = kRoundoff * static_cast<double>(task_.num_frames);
        most_cells_ = found_.num_cells + options_.most_cells;
        if (sweep(0.0f, end_.total * (1.0 + doubt) - kRounding)) {
            found_.proof = Proof::exact;
            return;
        }
        most_cells_ = kUnlimited;
        sweep(threshold_, 0.0);
    }

    // All frames in turn; cells are given up that are `threshold` below their frame's best one or, without a threshold,
    // below `floor`. Whether a path is left, and the cells were not too many.
    bool sweep(float threshold, double floor) {
        columns_.clear();
        shifts_.clear();
        bases_.clear();
        spacing_ = kInterval;
        kept_ = lowest_ = 0;
        band_.clear();
        float best = 0.0f;  // of the frame before
        for (std::size_t frame = 0; frame < task_.num_frames && !band_.empty(); ++frame) {
            if (frame % kInterval == 0) {
                settle(frame);
                best = 0.0f;
            }
            const float reach = frame + 1 == task_.num_frames ? kRest * threshold : threshold;
            float cut = threshold > 0.0f ? best - reach : static_cast<float>(floor - bases_.back());
            band_.step(frame, cut, nullptr);
            raise(frame);
            if (threshold > 0.0f) {
                best = band_.best();
                cut = best - reach;
            }
            band_.narrow(std::max(cut, kLowest));
            found_.num_cells += band_.hi() - band_.lo();
            if (found_.num_cells > most_cells_)
                return false;
        }
        if (band_.empty())
            return false;
        const float rest = band_.blank_score(num_tokens_);
        const float last = num_tokens_ ? band_.token_score(num_tokens_ - 1) : kNever;
        const bool in_token = num_tokens_ && !(rest > last);
        const float score = in_token ? last : rest;
        end_ = {in_token ? num_tokens_ - 1 : num_tokens_, in_token, base(task_.num_frames) + static_cast<double>(score)};
        return score > kNever;
    }

    // Makes the best score 0, which keeps scores near it exact, and keeps the column; fewer where memory is short.
    void settle(std::size_t frame) {
        shifts_.push_back(band_.best());
        bases_.push_back(base(frame) + static_cast<double>(shifts_.back()));
        band_.shift(shifts_.back());
        if (frame % spacing_)
            return;
        columns_.push_back(band_.save(frame));
        kept_ += columns_.back().bytes();
        while (kept_ > options_.memory / 2 && columns_.size() > 2) {
            spacing_ *= 2;
            kept_ = 0;
            const auto superfluous = [&](const Column& column) { return column.frame % spacing_ != 0; };
            columns_.erase(std::remove_if(columns_.begin(), columns_.end(), superfluous), columns_.end());
            for (const Column& column : columns_)
                kept_ += column.bytes();
        }
    }

    // What scores before `frame` count from, its own settling not yet done.
    double base(std::size_t frame) const { return frame ? bases_[(frame - 1) / kInterval] : 0.0; }

    // Gives up cells from which the frames left do not suffice.
    void raise(std::size_t frame) {
        if (!task_.unit_begins.empty())
            return;
        while (lowest_ < num_tokens_ && needed_[lowest_] > task_.num_frames - 1 - frame)
            ++lowest_;
        band_.raise(lowest_);
    }

    // Follows the way to `end_`, before frame `until`, back to the column, and makes `end_` what it passes there.
    void trace(const Column& column, std::size_t until) {
        const std::size_t middle = column.frame + (until - column.frame) / 2;
        if (run_again(column, until, middle == column.frame ? ~std::size_t{0} : options_.memory / 4)) {
            follow(column, until);
            return;
        }
        run_again(column, middle, 0);
        const Column between = band_.save(middle);
        trace(between, until);
        trace(column, middle);
    }

    // The frames from a column to `until` as the sweep had them, through what is no worse than `end_`, for scores never
    // rise. Whether the ways fitted into `memory`; 0 notes none.
    bool run_again(const Column& column, std::size_t until, std::size_t memory) {
        band_.load(column);
        rows_.clear();
        ways_.clear();
        for (std::size_t frame = column.frame; frame < until; ++frame) {
            if (frame % kInterval == 0 && frame > column.frame)
                band_.shift(shifts_[frame / kInterval]);
            const auto cut = static_cast<float>(end_.total - kRounding - base(frame + 1));
            if (memory)
                rows_.push_back({band_.lo(), ways_.size()});
            band_.step(frame, cut, memory ? &ways_ : nullptr);
            band_.lower(end_.cell + 1);
            band_.narrow(std::max(cut, kLowest));
            if (memory && ways_.size() > memory)
                return false;
        }
        if (until % kInterval == 0 && until < task_.num_frames)
            band_.shift(shifts_[until / kInterval]);
        return true;
    }

    void follow(const Column& column, std::size_t until) {
        for (std::size_t frame = until; frame-- > column.frame;) {
            const Row& row = rows_[frame - column.frame];
            const auto way = [&] { return ways_[row.offset + end_.cell - row.lo]; };
            while (!end_.in_token && way() & kLeftOut)
                leave_out(frame);
            if (!end_.in_token) {
                end_.in_token = (way() & kBlankFromToken) != 0;
                end_.cell -= end_.in_token;
                continue;
            }
            if (found_.ends[end_.cell] == 0)
                found_.ends[end_.cell] = static_cast<std::int32_t>(frame + 1);
            found_.starts[end_.cell] = static_cast<std::int32_t>(frame);
            const std::uint8_t taken = way();
            end_.in_token = !(taken & kFromBlank);
            end_.cell -= (taken & kFromToken) != 0;
        }
        const std::size_t i = end_.cell - column.lo;
        const float score = end_.in_token ? column.tokens[i] : column.blanks[i];
        end_.total = bases_[column.frame / kInterval] + static_cast<double>(score);
    }

    // The unit that ends at the cell gets no frame.
    void leave_out(std::size_t frame) {
        const auto& ends = task_.unit_ends;
        const auto unit = std::lower_bound(ends.begin(), ends.end(), end_.cell) - ends.begin();
        const std::size_t begin = task_.unit_begins[static_cast<std::size_t>(unit)];
        for (std::size_t i = begin; i < end_.cell; ++i)
            found_.starts[i] = found_.ends[i] = static_cast<std::int32_t>(frame);
        end_.cell = begin;
    }

    double score() const {
        double sum = 0.0;
        std::size_t frame = 0;
        const auto walk = [&](std::size_t until, std::size_t column) {
            for (; frame < until; ++frame) {
                const float* row = task_.log_probs + frame * task_.num_columns;
                sum += static_cast<double>(column < task_.num_columns ? row[column]
                                                                      : highest(row, task_.num_columns));
            }
        };
        for (std::size_t i = 0; i < num_tokens_; ++i) {
            if (found_.starts[i] == found_.ends[i])
                continue;
            walk(static_cast<std::size_t>(found_.starts[i]), task_.blank);
            walk(static_cast<std::size_t>(found_.ends[i]), static_cast<std::size_t>(task_.tokens[i]));
        }
        walk(task_.num_frames, task_.blank);
        return sum;
    }

    const AlignTask& task_;
    const AlignOptions& options_;
    Band band_;
    std::size_t num_tokens_;
    float threshold_ = 0.0f;        // of the last first sweep
    std::uint64_t most_cells_ = kUnlimited;  // for all sweeps so far and this one
    std::vector<std::size_t> needed_;  // frames for what follows a token
    std::vector<Column> columns_;
    std::vector<float> shifts_;   // by interval: what its settling took off
    std::vector<double> bases_;   // and the sum of those so far
    std::size_t spacing_ = kInterval, kept_ = 0, lowest_ = 0;
    std::vector<Row> rows_;  // of the frames run again
    std::vector<std::uint8_t> ways_;
    End end_;
    Aligned found_;
};

}  // namespace

Aligned align(const AlignTask& task, const AlignOptions& options) { return Search(task, options).run(); }

}  // namespace sonant
