#include "score_table.h"

#include <queue>

namespace sonant {

namespace {

constexpr int kRounds = 50;  // hardly anything moves any more

// Groups of neighbours among sorted scores: group i is [edges_[i], edges_[i + 1]).
class Groups {
  public:
    explicit Groups(std::vector<float> scores) : scores_(std::move(scores)), edges_{0, scores_.size()} {
        std::sort(scores_.begin(), scores_.end());
    }

    // Splits the group with the greatest error at its mean, again and again: what lies far out gets groups of its own.
    void split(std::size_t size) {
        std::priority_queue<Group> open;
        const auto push = [&](std::size_t begin, std::size_t end) {
            if (begin < end && scores_[begin] < scores_[end - 1])
                open.push({error(begin, end), begin, end});
        };
        push(0, scores_.size());
        while (!open.empty() && edges_.size() <= size) {
            const Group group = open.top();
            open.pop();
            const float first = scores_[group.begin], last = scores_[group.end - 1];
            // A mean is rounded: neither side may be empty for that.
            const std::size_t cut = std::clamp(place_of(mean(group.begin, group.end)), above(first), place_of(last));
            edges_.push_back(cut);
            push(group.begin, cut);
            push(cut, group.end);
        }
        std::sort(edges_.begin(), edges_.end());
    }

    // Moves the edges halfway between the means until they stay; gives the means.
    std::vector<float> settle() {
        std::vector<double> means(edges_.size() - 1);
        for (int round = 0; round < kRounds; ++round) {
            const std::vector<std::size_t> before = edges_;
            for (std::size_t i = 0; i < means.size(); ++i)
                if (edges_[i] < edges_[i + 1])  // else it stays where it was
                    means[i] = mean(edges_[i], edges_[i + 1]);
            for (std::size_t i = 1; i < means.size(); ++i)
                edges_[i] = place_of((means[i - 1] + means[i]) / 2);
            if (edges_ == before)
                break;
        }
        return {means.begin(), means.end()};
    }

  private:
    struct Group {
        double error;
        std::size_t begin, end;
        bool operator<(const Group& other) const { return error < other.error; }
    };

    // The first score that is not below `value`, or above it.
    std::size_t place_of(double value) const {
        return static_cast<std::size_t>(std::lower_bound(scores_.begin(), scores_.end(), value) - scores_.begin());
    }
    std::size_t above(double value) const {
        return static_cast<std::size_t>(std::upper_bound(scores_.begin(), scores_.end(), value) - scores_.begin());
    }
    double mean(std::size_t begin, std::size_t end) const {  // exact where all are equal
        double off = 0.0;
        for (std::size_t i = begin; i < end; ++i)
            off += static_cast<double>(scores_[i]) - scores_[begin];
        return scores_[begin] + off / static_cast<double>(end - begin);
    }
    double error(std::size_t begin, std::size_t end) const {
        const double center = mean(begin, end);
        double sum = 0.0;
        for (std::size_t i = begin; i < end; ++i)
            sum += (scores_[i] - center) * (scores_[i] - center);
        return sum;
    }

    std::vector<float> scores_;
    std::vector<std::size_t> edges_;
};

}  // namespace

ScoreTable::ScoreTable(std::vector<float> scores, std::size_t size) : values_(1, 0.0f) {
    if (!scores.empty()) {
        Groups groups(std::move(scores));
        groups.split(size);
        values_ = groups.settle();
    }
    for (std::size_t i = 1; i < values_.size(); ++i)
        limits_.push_back(values_[i - 1] + (values_[i] - values_[i - 1]) / 2);
    values_.resize(size, values_.back());
}

}  // namespace sonant
