// Random alignments under the sanitizers: any tokens, units and emissions, in little memory.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "align.h"

using namespace sonant;

namespace {

std::mt19937 engine(7);

std::size_t below(std::size_t limit) { return engine() % limit; }

void search() {
    AlignTask task;
    task.num_frames = below(30) ? below(60) : 1100;
    task.num_columns = 2 + below(40);
    std::normal_distribution<float> normal(0.0f, 1.0f + static_cast<float>(below(5)));
    std::vector<float> values(task.num_frames * task.num_columns);
    for (float& value : values)
        value = below(50) ? normal(engine) : -HUGE_VALF;
    for (std::size_t t = 0; t < task.num_frames; ++t)
        values[t * task.num_columns] = -1.0f;
    task.log_probs = values.data();
    for (std::size_t length = below(task.num_frames + 5); length > 0; --length)
        task.tokens.push_back(static_cast<std::int32_t>(1 + below(task.num_columns)));
    task.wildcard_cost = 0.2f;
    for (std::size_t at = below(3); below(2) && at < task.tokens.size();) {
        const std::size_t end = at + 1 + below(task.tokens.size() - at);
        task.unit_begins.push_back(at);
        task.unit_ends.push_back(end);
        task.unit_costs.push_back(static_cast<float>(below(9)));
        at = end + below(3);
    }
    const float threshold = below(2) ? 3.0f : 100.0f;
    const Aligned found = align(task, {threshold, below(3) > 0, below(2) ? std::size_t{64} : std::size_t{1} << 20});
    std::int32_t last = 0;
    for (std::size_t i = 0; found.proof != Proof::none && i < task.tokens.size(); ++i) {
        if (found.starts[i] < last || found.ends[i] < found.starts[i])
            std::abort();
        last = found.ends[i];
    }
}

}  // namespace

int main() {
    for (int i = 0; i < 2000; ++i)
        search();
    std::puts("done");
}
