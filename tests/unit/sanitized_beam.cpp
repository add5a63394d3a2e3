// Random searches under the sanitizers: any lexicon, any emissions, every setting that changes a path through the code.
#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "beam.h"

using namespace sonant;

namespace {

std::mt19937 engine(7);

std::size_t below(std::size_t limit) { return engine() % limit; }

Spellings random_spellings(std::size_t count, std::size_t first, std::size_t num_tokens, bool bounded) {
    Spellings made;
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<std::uint32_t> tokens;
        if (bounded)
            tokens.push_back(static_cast<std::uint32_t>(num_tokens));
        for (std::size_t length = 1 + below(5); length > 0; --length)
            tokens.push_back(static_cast<std::uint32_t>(first + below(num_tokens - first)));
        if (bounded)
            tokens.push_back(static_cast<std::uint32_t>(num_tokens));
        made.add(tokens, static_cast<std::uint32_t>(i));
    }
    return made;
}

std::vector<float> random_emissions(std::size_t num_frames, std::size_t num_tokens, float sharpness) {
    std::normal_distribution<float> normal(0.0f, sharpness);
    std::vector<float> values(num_frames * num_tokens);
    for (std::size_t t = 0; t < num_frames; ++t) {
        double sum = 0.0;
        float* row = values.data() + t * num_tokens;
        for (std::size_t i = 0; i < num_tokens; ++i)
            sum += std::exp(static_cast<double>(row[i] = normal(engine) + (i == 0 && below(3) ? 12.0f : 0.0f)));
        for (std::size_t i = 0; i < num_tokens; ++i)
            row[i] = below(40) ? row[i] - static_cast<float>(std::log(sum)) : kNever;
        row[0] = std::max(row[0], -20.0f);
    }
    return values;
}

void search(const LanguageModel* lm) {
    BeamOptions options;
    const std::size_t num_tokens = below(2) ? 6 : 90;
    const bool separated = below(3) > 0;
    options.num_tokens = static_cast<std::uint32_t>(num_tokens);
    options.separator = separated ? 1 : kNoToken;
    options.written.assign(num_tokens, true);
    options.written[0] = options.written[1] = false;
    options.beam_size = below(2) ? 5 : 60;
    options.blank_skip = std::log(0.999f);
    options.open = below(2) > 0;
    options.unknown_penalty = 2.0f;
    options.recombine = below(3) > 0;
    options.rivals = below(2) > 0;
    options.bounded = separated;
    const Spellings lexicon = random_spellings(below(30), 2, num_tokens, false);
    std::vector<WordId> words;
    for (std::size_t i = 0; i < lexicon.size(); ++i)
        words.push_back(static_cast<WordId>(below(lm ? lm->num_words() : 1)));
    const Spellings phrases = random_spellings(below(20), 2, num_tokens, separated);
    const auto shared = std::make_shared<BeamSearch>(options, lexicon, words, lm, phrases,
                                                     std::vector<float>(phrases.size(), 2.5f));
    BeamState state(shared);
    std::size_t heard = 0;
    for (std::size_t piece = 0; piece < 1 + below(4); ++piece) {
        const std::vector<float> values = random_emissions(below(300), num_tokens, 1.0f + static_cast<float>(below(4)));
        state.feed(values.data(), values.size() / num_tokens, 20);
        if (below(2))
            state.decide(static_cast<float>(below(6)));
        heard += state.stable(heard).words.size();
        if (state.finish(1 + below(5)).empty())
            std::abort();
    }
}

}  // namespace

int main(int count, char** arguments) {
    const std::unique_ptr<LanguageModel> lm(count > 1 ? new LanguageModel(arguments[1]) : nullptr);
    for (int i = 0; i < 300; ++i)
        search(i % 3 ? lm.get() : nullptr);
    std::puts("done");
}
