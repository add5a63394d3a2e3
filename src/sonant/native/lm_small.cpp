#include "lm_small.h"

namespace sonant::lm_file {

namespace {

constexpr std::uint32_t kNoArc = 0xffffffff;

std::uint64_t table_bytes(std::uint64_t records, std::uint32_t bits) noexcept {
    return (records * bits + 7) / 8 + kLoad;
}

}  // namespace

SmallLayout::SmallLayout(const Header& header) noexcept
    : word_bits(bits_of(header.num_words)),
      state_bits(bits_of(header.num_contexts)),
      text_bits(bits_of(header.text_bytes)),
      begin_bits(bits_of(header.num_arcs)),
      unigram_bits(kUnigramBits + state_bits),
      context_bits(kScoreBits + state_bits + begin_bits),
      arc_bits(word_bits + header.next_bits + kScoreBits) {
    Places places;
    // 32-bit counts of records of at most 70 bits: no product can overflow.
    slots = places.add(table_bytes(header.num_slots, word_bits));
    offsets = places.add(table_bytes(std::uint64_t{header.num_words} + 1, text_bits));
    text = places.add(header.text_bytes);
    scores = places.add((kUnigramScores + 2 * kNumScores) * sizeof(float));
    unigrams = places.add(table_bytes(header.num_words, unigram_bits));
    contexts = places.add(table_bytes(std::uint64_t{header.num_contexts} + 1, context_bits));
    arcs = places.add(table_bytes(header.num_arcs, arc_bits));
    end = places.end;
}

SmallModel::SmallModel(const Header& header, const unsigned char* file) noexcept
    : order_(header.order), num_contexts_(header.num_contexts), num_arcs_(header.num_arcs) {
    const SmallLayout at(header);
    words.slots = Packed(file + at.slots, at.word_bits, 0, at.word_bits);
    words.offsets = Packed(file + at.offsets, at.text_bits, 0, at.text_bits);
    words.text = reinterpret_cast<const char*>(file + at.text);
    words.num_slots = header.num_slots;
    words.num_words = header.num_words;
    words.text_bytes = header.text_bytes;
    unigram_scores_ = reinterpret_cast<const float*>(file + at.scores);
    arc_scores_ = unigram_scores_ + kUnigramScores;
    backoff_scores_ = arc_scores_ + kNumScores;
    unigrams_ = Packed(file + at.unigrams, at.unigram_bits, 0, kUnigramBits);
    unigram_nexts_ = Packed(file + at.unigrams, at.unigram_bits, kUnigramBits, at.state_bits);
    backoffs_ = Packed(file + at.contexts, at.context_bits, 0, kScoreBits);
    links_ = Packed(file + at.contexts, at.context_bits, kScoreBits, at.state_bits);
    begins_ = Packed(file + at.contexts, at.context_bits, kScoreBits + at.state_bits, at.begin_bits);
    arc_words_ = Packed(file + at.arcs, at.arc_bits, 0, at.word_bits);
    furthers_ = Packed(file + at.arcs, at.arc_bits, at.word_bits, header.next_bits);
    arcs_ = Packed(file + at.arcs, at.arc_bits, at.word_bits + header.next_bits, kScoreBits);
}

std::uint32_t SmallModel::find_arc(LmState context, WordId word) const noexcept {
    std::uint32_t begin = begins_[context];
    const std::uint32_t end = std::min(begins_[std::size_t{context} + 1], num_arcs_);
    if (begin >= end)
        return kNoArc;
    for (std::uint32_t count = end - begin; count > 1;) {
        const std::uint32_t half = count / 2;
        begin += arc_words_[begin + half] <= word ? half : 0;
        count -= half;
    }
    return arc_words_[begin] == word ? begin : kNoArc;
}

void SmallModel::prefetch(LmState state, WordId word) const noexcept {
    SONANT_PREFETCH(unigrams_.address(word));
    for (std::uint32_t level = 1; state != kEmptyContext && level < order_; ++level) {
        const std::uint32_t begin = begins_[state], end = std::min(begins_[std::size_t{state} + 1], num_arcs_);
        if (begin < end)
            SONANT_PREFETCH(arc_words_.address(begin + (end - begin) / 2));
        state = stored(links_[state]);
    }
}

LmStep SmallModel::step(LmState state, WordId word) const noexcept {
    SONANT_PREFETCH(unigrams_.address(word));
    float backoffs = 0.0f;
    // A context has fewer words than the order: links that go in a circle end here.
    for (std::uint32_t level = 1; state != kEmptyContext && level < order_; ++level) {
        const LmState link = stored(links_[state]);
        SONANT_PREFETCH(links_.address(link));  // needed if there is no arc: fetched while the arc is looked for
        const std::uint32_t arc = find_arc(state, word);
        if (arc != kNoArc)
            return {bounded(backoffs + arc_scores_[arcs_[arc]]), stored(unigram_nexts_[word] + furthers_[arc])};
        backoffs += backoff_scores_[backoffs_[state]];
        state = link;
    }
    const Unigram found = unigram(word);
    return {bounded(backoffs + found.score), stored(found.next)};
}

}  // namespace sonant::lm_file
