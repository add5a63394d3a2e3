// Writes a model in the small layout (lm_small.h).
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "lm_format.h"

namespace sonant::lm_file {

// What the exact layout has of words and contexts; the counts are in the header.
struct ExactParts {
    WordView words;
    const Unigram* unigrams;
    const Context* contexts;
};

// The file in pieces from front to back, of what the exact layout would hold: of `header` the counts count that both
// have. `arcs` are those of the table that are not free, in any sequence. Takes four bytes an n-gram and twelve a
// context beside what is given. Numbers out of range become the unknown word, the empty context, the lowest score.
// std::runtime_error, a clause, where the model is too large.
void write_small(const Header& header, const ExactParts& parts, std::vector<Arc> arcs,
                 const std::function<void(const char* bytes, std::size_t size)>& sink);

}  // namespace sonant::lm_file
