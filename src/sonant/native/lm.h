// A back-off n-gram model as an automaton, read from a mapped file in either layout (lm_format.h, lm_small.h). Natural
// logarithms throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lm_format.h"
#include "lm_small.h"
#include "mapped_file.h"

namespace sonant {

// Immutable, so any number of threads may ask at once. Histories that no n-gram can tell apart have one state, which is
// what lets a search merge its hypotheses. No number in the file is trusted: a hostile one gives wrong scores, never a
// read outside the map. Scores lie within -kLowestScore and kLowestScore and are never NaN.
class LanguageModel {
  public:
    // Maps the file in time that does not depend on its size; std::runtime_error with one sentence where it is none of
    // ours, of another version, or truncated. `path` as MappedFile takes it.
    explicit LanguageModel(const std::string& path);

    int order() const noexcept { return static_cast<int>(header_.order); }
    std::size_t num_words() const noexcept { return header_.num_words; }
    std::size_t num_contexts() const noexcept { return header_.num_contexts; }
    std::size_t num_ngrams() const noexcept;
    std::size_t num_ngrams(int order) const noexcept;  // of 1 to order() words

    LmState begin() const noexcept { return begin_; }  // the context <s>; the empty one where the model has no <s>
    WordId find(std::string_view word) const noexcept;  // 0 where unknown
    std::string_view word(WordId id) const noexcept { return is_small() ? small_->words.word(id) : words_.word(id); }
    float unigram(WordId id) const noexcept {
        id = id < header_.num_words ? id : 0;
        return lm_file::bounded(is_small() ? small_->unigram(id).score : unigrams_[id].score);
    }

    // What `word` costs in `state`, and the state after it. A number out of range is the unknown word, or the empty
    // context.
    LmStep step(LmState state, WordId word) const noexcept;

    // Has the memory fetch what `step` of the same will look at: asking for several words first and stepping then hides
    // most of what a big model's memory costs.
    void prefetch(LmState state, WordId word) const noexcept;

    bool is_small() const noexcept { return contexts_ == nullptr; }  // which `step` has to load anyway

    // Writes the model in the small layout, where it is not in that: a file in pieces from front to back.
    void write_small(const std::function<void(const char* bytes, std::size_t size)>& sink) const;

    // ln p(</s> | context); 0 where the model has no </s>.
    float end(LmState state) const noexcept { return header_.end_word ? step(state, header_.end_word).score : 0.0f; }

  private:
    void open_exact();
    LmState stored(LmState state) const noexcept { return state < header_.num_contexts ? state : kEmptyContext; }
    const lm_file::Arc* find_arc(LmState context, WordId word) const noexcept;

    MappedFile file_;
    lm_file::Header header_;
    lm_file::WordView words_;
    const lm_file::Unigram* unigrams_ = nullptr;
    const lm_file::Context* contexts_ = nullptr;
    const lm_file::Arc* arcs_ = nullptr;
    std::unique_ptr<const lm_file::SmallModel> small_;  // in place of the four before
    LmState begin_ = kEmptyContext;
};

inline const lm_file::Arc* LanguageModel::find_arc(LmState context, WordId word) const noexcept {
    std::uint32_t bucket = lm_file::bucket_of(context, word, header_.num_buckets);
    for (std::uint32_t probe = 0; probe < header_.longest_probe; ++probe) {
        const lm_file::Arc* arc = arcs_ + std::size_t{bucket} * lm_file::kBucket;
        for (std::size_t i = 0; i < lm_file::kBucket; ++i)
            if (arc[i].word == word && arc[i].context == context)
                return arc + i;
        if (arc[lm_file::kBucket - 1].context == kEmptyContext)  // buckets fill from the front and spill when full
            return nullptr;
        bucket = bucket + 1 == header_.num_buckets ? 0 : bucket + 1;
    }
    return nullptr;
}

inline void LanguageModel::prefetch(LmState state, WordId word) const noexcept {
    word = word < header_.num_words ? word : 0;
    state = stored(state);
    if (is_small())
        return small_->prefetch(state, word);
    SONANT_PREFETCH(unigrams_ + word);
    for (std::uint32_t level = 1; state != kEmptyContext && level < header_.order; ++level) {
        const lm_file::Context& context = contexts_[state];
        if (context.may_have(word))
            SONANT_PREFETCH(arcs_ + std::size_t{lm_file::bucket_of(state, word, header_.num_buckets)} * lm_file::kBucket);
        state = stored(context.link);
    }
}

inline LmStep LanguageModel::step(LmState state, WordId word) const noexcept {
    word = word < header_.num_words ? word : 0;
    state = stored(state);
    if (is_small())
        return small_->step(state, word);
    SONANT_PREFETCH(unigrams_ + word);
    float backoffs = 0.0f;
    // A context has fewer words than the order: links that go in a circle end here.
    for (std::uint32_t level = 1; state != kEmptyContext && level < header_.order; ++level) {
        const lm_file::Context& context = contexts_[state];
        const LmState link = stored(context.link);
        SONANT_PREFETCH(contexts_ + link);  // needed if there is no arc: fetched while the arc is looked for
        const lm_file::Arc* arc = context.may_have(word) ? find_arc(state, word) : nullptr;
        if (arc != nullptr)
            return {lm_file::bounded(backoffs + arc->score), stored(arc->next)};
        backoffs += context.backoff;
        state = link;
    }
    const lm_file::Unigram& unigram = unigrams_[word];
    return {lm_file::bounded(backoffs + unigram.score), stored(unigram.next)};
}

}  // namespace sonant
