#include "lm_small_writer.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "lm_small.h"
#include "score_table.h"
#include "section_writer.h"

namespace sonant::lm_file {

namespace {

std::vector<WordId> hashed(const WordView& words) {
    const std::uint64_t size = std::uint64_t{words.num_words} + words.num_words / 4 + 1;
    if (size > 0xffffffffu)
        throw std::runtime_error("it has more words than a small file can hold");
    std::vector<WordId> slots(static_cast<std::size_t>(size), words.num_words);
    for (WordId id = 0; id < words.num_words; ++id) {
        std::size_t slot = place(hash_of(words.word(id)), static_cast<std::uint32_t>(size));
        while (slots[slot] != words.num_words)
            slot = slot + 1 == size ? 0 : slot + 1;
        slots[slot] = id;
    }
    return slots;
}

template <typename Items, typename Score>
ScoreTable table_of(const Items& begin, std::size_t count, std::size_t size, Score score) {
    std::vector<float> scores(count);
    std::transform(begin, begin + static_cast<std::ptrdiff_t>(count), scores.begin(),
                   [score](const auto& item) { return bounded(score(item)); });
    return ScoreTable(std::move(scores), size);
}

// The contexts in the order of their last words, a word's own first.
struct Numbering {
    std::vector<LmState> old_of, new_of;

    Numbering(const Header& header, const ExactParts& parts, const std::vector<Arc>& arcs)
        : old_of(header.num_contexts), new_of(header.num_contexts) {
        std::vector<WordId> last(header.num_contexts);
        for (const Arc& arc : arcs)
            if (arc.next < last.size())
                last[arc.next] = arc.word;
        for (WordId word = 0; word < header.num_words; ++word)
            if (parts.unigrams[word].next < last.size())
                last[parts.unigrams[word].next] = word;
        std::iota(old_of.begin(), old_of.end(), kEmptyContext);
        const auto key = [&](LmState state) {
            return std::tuple(last[state], parts.unigrams[last[state]].next != state, state);
        };
        std::sort(old_of.begin() + 1, old_of.end(), [key](LmState a, LmState b) { return key(a) < key(b); });
        for (std::size_t i = 0; i < old_of.size(); ++i)
            new_of[old_of[i]] = static_cast<LmState>(i);
    }

    LmState operator[](LmState old) const { return old < new_of.size() ? new_of[old] : kEmptyContext; }
};

// By context and word, each once, with what follows as it is to be written.
void put_in_order(std::vector<Arc>& arcs, const Unigram* unigrams, const Numbering& numbers) {
    for (Arc& arc : arcs) {
        const LmState next = numbers[arc.next], of_word = numbers[unigrams[arc.word].next];
        arc.context = numbers[arc.context];
        arc.next = next < of_word ? 0 : next - of_word;
    }
    const auto key = [](const Arc& arc) { return std::tie(arc.context, arc.word); };
    std::sort(arcs.begin(), arcs.end(), [key](const Arc& a, const Arc& b) { return key(a) < key(b); });
    arcs.erase(std::unique(arcs.begin(), arcs.end(), [key](const Arc& a, const Arc& b) { return key(a) == key(b); }),
               arcs.end());
    if (arcs.size() > 0xffffffffu)
        throw std::runtime_error("it has more n-grams than a small file can hold");
}

Header small_header(Header header, std::size_t num_slots, const std::vector<Arc>& arcs) {
    LmState furthest = 0;
    for (const Arc& arc : arcs)
        furthest = std::max(furthest, arc.next);
    header.version = kSmallVersion;
    header.num_arcs = static_cast<std::uint32_t>(arcs.size());
    header.next_bits = bits_of(furthest);
    header.num_slots = static_cast<std::uint32_t>(num_slots);
    header.file_bytes = SmallLayout(header).end;
    return header;
}

}  // namespace

void write_small(const Header& exact, const ExactParts& parts, std::vector<Arc> arcs, const Sink& sink) {
    const auto unusable = [&exact](const Arc& arc) {
        return arc.context >= exact.num_contexts || arc.word >= exact.num_words;
    };
    arcs.erase(std::remove_if(arcs.begin(), arcs.end(), unusable), arcs.end());
    const Numbering numbers(exact, parts, arcs);
    put_in_order(arcs, parts.unigrams, numbers);
    const std::vector<WordId> slots = hashed(parts.words);
    const Header header = small_header(exact, slots.size(), arcs);
    const SmallLayout layout(header);
    const ScoreTable unigram_scores = table_of(parts.unigrams, header.num_words, kUnigramScores,
                                               [](const Unigram& unigram) { return unigram.score; });
    const ScoreTable arc_scores =
        table_of(arcs.begin(), arcs.size(), kNumScores, [](const Arc& arc) { return arc.score; });
    const ScoreTable backoffs = table_of(parts.contexts, header.num_contexts, kNumScores,
                                         [](const Context& context) { return context.backoff; });

    SectionWriter file(sink);
    file.add(&header, sizeof(header));
    for (const WordId id : slots)
        file.add(id, layout.word_bits);
    file.end_table();
    for (std::size_t i = 0; i <= header.num_words; ++i)
        file.add(static_cast<std::uint32_t>(std::min<std::uint64_t>(parts.words.offsets[i], header.text_bytes)),
                 layout.text_bits);
    file.end_table();
    file.add(parts.words.text, header.text_bytes);
    std::vector<float> scores;
    for (const ScoreTable* table : {&unigram_scores, &arc_scores, &backoffs})
        scores.insert(scores.end(), table->values().begin(), table->values().end());
    file.add(scores.data(), scores.size() * sizeof(float));
    for (std::size_t i = 0; i < header.num_words; ++i) {
        file.add(unigram_scores.number_of(bounded(parts.unigrams[i].score)), kUnigramBits);
        file.add(numbers[parts.unigrams[i].next], layout.state_bits);
    }
    file.end_table();
    std::size_t begin = 0;
    for (LmState state = 0; state < header.num_contexts; ++state) {
        const Context& context = parts.contexts[numbers.old_of[state]];
        file.add(backoffs.number_of(bounded(context.backoff)), kScoreBits);
        file.add(numbers[context.link], layout.state_bits);
        file.add(static_cast<std::uint32_t>(begin), layout.begin_bits);
        while (begin < arcs.size() && arcs[begin].context == state)
            ++begin;
    }
    file.add(0, kScoreBits + layout.state_bits);
    file.add(header.num_arcs, layout.begin_bits);
    file.end_table();
    for (const Arc& arc : arcs) {
        file.add(arc.word, layout.word_bits);
        file.add(arc.next, header.next_bits);
        file.add(arc_scores.number_of(bounded(arc.score)), kScoreBits);
    }
    file.end_table();
}

}  // namespace sonant::lm_file
