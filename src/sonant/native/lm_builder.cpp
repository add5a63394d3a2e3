#include "lm_builder.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "lm_small_writer.h"
#include "section_writer.h"

namespace sonant {

namespace {

constexpr LmState kNone = 0xffffffff;  // no context hangs here, or not yet
constexpr double kLoad = 0.8;          // of the arcs' places; a full bucket spills into the next
constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

float bounded(float score) { return std::clamp(score, kLowestScore, -kLowestScore); }

}  // namespace

Words::Words() {
    offsets.push_back(0);
    grow();
    add("<unk>");
}

lm_file::WordView Words::view() const noexcept {
    lm_file::WordView view;
    view.slots = slots.data();
    view.offsets = offsets.data();
    view.text = text.data();
    view.num_slots = static_cast<std::uint32_t>(slots.size());
    view.num_words = static_cast<std::uint32_t>(offsets.size() - 1);
    view.text_bytes = text.size();
    return view;
}

WordId Words::add(std::string_view word) {
    const WordId known = find(word);
    if (known != kNoWord)
        return known;
    if (text.size() + word.size() > 0xffffffffu || offsets.size() >= 0x7fffffffu)
        throw std::runtime_error("its words take more than 4 GB");
    if (offsets.size() * 2 > slots.size())
        grow();
    text.insert(text.end(), word.begin(), word.end());
    offsets.push_back(static_cast<std::uint32_t>(text.size()));
    const auto id = static_cast<WordId>(offsets.size() - 2);
    insert(id);
    return id;
}

void Words::insert(WordId id) noexcept {
    const auto size = static_cast<std::uint32_t>(slots.size());
    std::uint32_t slot = lm_file::place(lm_file::hash_of(view().word(id)), size);
    while (slots[slot] != kNoWord)
        slot = slot + 1 == size ? 0 : slot + 1;
    slots[slot] = id;
}

void Words::grow() {
    slots.assign(std::max<std::size_t>(64, slots.size() * 2), kNoWord);
    for (std::size_t id = 0; id + 1 < offsets.size(); ++id)
        insert(static_cast<WordId>(id));
}

LmBuilder::LmBuilder(int order) : order_(order) {
    if (order < 1 || order > kMaxOrder)
        throw std::runtime_error("its order is " + std::to_string(order) + ", but 1 to " + std::to_string(kMaxOrder) +
                                 " was expected");
    contexts_.push_back({0.0f, kEmptyContext, 0});
    places_.push_back({kEmptyContext, 0});
    lengths_.push_back(0);
    resize(0);
}

void LmBuilder::reserve(std::uint64_t num_ngrams) {
    if (static_cast<double>(num_ngrams) > kLoad * static_cast<double>(arcs_.size()))
        resize(num_ngrams);
}

// A table with room for `num_arcs`, the present ones in it.
void LmBuilder::resize(std::uint64_t num_arcs) {
    const double buckets = static_cast<double>(num_arcs) / kLoad / lm_file::kBucket + 1.0;
    if (buckets > 0xffffffffu)
        throw std::runtime_error("it has more n-grams than a file can hold");
    num_buckets_ = static_cast<std::uint32_t>(buckets);
    longest_probe_ = 1;
    std::vector<lm_file::Arc> old(std::size_t{num_buckets_} * lm_file::kBucket, lm_file::Arc{});
    old.swap(arcs_);
    for (const lm_file::Arc& arc : old)
        if (arc.context != kEmptyContext)
            place_arc(arc);
}

lm_file::Arc* LmBuilder::place_arc(const lm_file::Arc& arc) noexcept {
    std::uint32_t bucket = lm_file::bucket_of(arc.context, arc.word, num_buckets_);
    for (std::uint32_t probe = 1;; ++probe) {
        lm_file::Arc* places = arcs_.data() + std::size_t{bucket} * lm_file::kBucket;
        for (std::size_t i = 0; i < lm_file::kBucket; ++i) {
            if (places[i].context != kEmptyContext)
                continue;
            places[i] = arc;
            longest_probe_ = std::max(longest_probe_, probe);
            return places + i;
        }
        bucket = bucket + 1 == num_buckets_ ? 0 : bucket + 1;
    }
}

lm_file::Arc* LmBuilder::insert_arc(const lm_file::Arc& arc) {
    if (static_cast<double>(num_arcs_ + 1) > kLoad * static_cast<double>(arcs_.size()))
        resize(num_arcs_ + num_arcs_ / 2 + 64);
    ++num_arcs_;
    return place_arc(arc);
}

lm_file::Arc* LmBuilder::find_arc(LmState context, WordId word) noexcept {
    std::uint32_t bucket = lm_file::bucket_of(context, word, num_buckets_);
    for (;;) {  // ends, because the table is never full
        lm_file::Arc* places = arcs_.data() + std::size_t{bucket} * lm_file::kBucket;
        for (std::size_t i = 0; i < lm_file::kBucket; ++i) {
            if (places[i].context == kEmptyContext)
                return nullptr;
            if (places[i].context == context && places[i].word == word)
                return places + i;
        }
        bucket = bucket + 1 == num_buckets_ ? 0 : bucket + 1;
    }
}

// Unigrams for the words that have come since.
void LmBuilder::cover_words() { unigrams_.resize(words.offsets.size() - 1, lm_file::Unigram{kMissing, kNone}); }

LmState LmBuilder::new_context(LmState parent, WordId word, float backoff) {
    if (contexts_.size() >= kNone)
        throw std::runtime_error("it has more contexts than a file can hold");
    contexts_.push_back({backoff, kEmptyContext, 0});
    places_.push_back({parent, word});
    lengths_.push_back(static_cast<std::uint8_t>(lengths_[parent] + 1));
    return static_cast<LmState>(contexts_.size() - 1);
}

bool LmBuilder::add(const WordId* ngram, int length, float score, float backoff) {
    cover_words();
    if (length < 1 || length > order_ || length < length_)
        throw std::runtime_error("an n-gram of " + std::to_string(length) + " words came where one of " +
                                 std::to_string(length_) + " to " + std::to_string(order_) + " was expected");
    for (int i = 0; i < length; ++i)
        if (ngram[i] >= unigrams_.size())
            throw std::runtime_error("an n-gram names word " + std::to_string(ngram[i]) + ", but there are " +
                                     std::to_string(unigrams_.size()));
    if (std::isnan(score) || std::isnan(backoff))
        throw std::runtime_error("a score is not a number");
    length_ = length;
    score = bounded(score);
    backoff = length == order_ ? 0.0f : bounded(backoff);
    const WordId word = ngram[length - 1];
    if (length == 1) {
        if (!std::isnan(unigrams_[word].score))
            return false;
        unigrams_[word] = {score, backoff != 0.0f ? new_context(kEmptyContext, word, backoff) : kNone};
    } else {
        const LmState context = context_of(ngram, length - 1);
        if (find_arc(context, word) != nullptr)
            return false;
        insert_arc({context, word, score, backoff != 0.0f ? new_context(context, word, backoff) : kNone});
    }
    ++counts_[length - 1];
    return true;
}

// The state of an n-gram that a longer one goes on from; made where it is not there yet.
LmState LmBuilder::context_of(const WordId* ngram, int length) {
    LmState context = kEmptyContext;
    for (int i = 0; i < length; ++i) {
        const WordId word = ngram[i];
        LmState next = kNone;
        if (context == kEmptyContext) {
            next = unigrams_[word].next;
        } else if (const lm_file::Arc* arc = find_arc(context, word)) {
            next = arc->next;
        } else {
            insert_arc({context, word, kMissing, kNone});
            blanks_.push_back({context, word});
        }
        if (next == kNone) {
            next = new_context(context, word, 0.0f);
            (context == kEmptyContext ? unigrams_[word].next : find_arc(context, word)->next) = next;
        }
        context = next;
    }
    return context;
}

// The state of the context and the word together, or of the longest suffix of them; kNone where it is not known yet.
LmState LmBuilder::continued(LmState context, WordId word) noexcept {
    if (context == kEmptyContext)
        return unigrams_[word].next;
    const lm_file::Arc* arc = find_arc(context, word);
    return arc ? arc->next : kNone;
}

// The same of the context without its first word, all links of shorter contexts being there.
LmState LmBuilder::longest_suffix(LmState context, WordId word) noexcept {
    while (context != kEmptyContext) {
        context = contexts_[context].link;
        const LmState next = continued(context, word);
        if (next != kNone)
            return next;
    }
    return kEmptyContext;
}

float LmBuilder::score_of(LmState context, WordId word) noexcept {
    float backoffs = 0.0f;
    for (; context != kEmptyContext; context = contexts_[context].link) {
        const lm_file::Arc* arc = find_arc(context, word);
        if (arc != nullptr && !std::isnan(arc->score))
            return bounded(backoffs + arc->score);
        backoffs += contexts_[context].backoff;
    }
    return bounded(backoffs + unigrams_[word].score);
}

// Links every context to its suffix, every arc to the state that follows, and scores what had to be made up.
void LmBuilder::close() {
    cover_words();
    if (std::isnan(unigrams_[0].score))
        unigrams_[0].score = kMissingUnknown;
    for (WordId word = 0; word < unigrams_.size(); ++word)
        if (std::isnan(unigrams_[word].score))
            throw std::runtime_error("'" + std::string(words.view().word(word)) +
                                     "' is in an n-gram, but not among the unigrams");
    for (int length = 2; length < order_; ++length)  // a link needs those of shorter contexts
        for (LmState context = 1; context < contexts_.size(); ++context)
            if (lengths_[context] == length)
                contexts_[context].link = longest_suffix(places_[context].context, places_[context].word);
    std::stable_sort(blanks_.begin(), blanks_.end(), [this](const Place& a, const Place& b) {
        return lengths_[a.context] < lengths_[b.context];
    });
    for (const Place& blank : blanks_)
        find_arc(blank.context, blank.word)->score = score_of(blank.context, blank.word);
    for (lm_file::Arc& arc : arcs_)  // in any order: where a suffix has got its answer before, it is the same
        if (arc.context != kEmptyContext && arc.next == kNone)
            arc.next = longest_suffix(arc.context, arc.word);
    for (const lm_file::Arc& arc : arcs_)
        if (arc.context != kEmptyContext)
            contexts_[arc.context].children |= lm_file::Context::bit_of(arc.word);
    for (lm_file::Unigram& unigram : unigrams_)
        unigram.next = unigram.next == kNone ? kEmptyContext : unigram.next;
}

lm_file::Header LmBuilder::header() const noexcept {
    const auto id = [this](std::string_view word) {
        const WordId found = words.find(word);
        return found == kNoWord ? 0 : found;
    };
    lm_file::Header header{};
    std::memcpy(header.magic, lm_file::kMagic, sizeof(header.magic));
    header.version = lm_file::kExactVersion;
    header.order = static_cast<std::uint32_t>(order_);
    header.num_words = static_cast<std::uint32_t>(unigrams_.size());
    header.num_contexts = static_cast<std::uint32_t>(contexts_.size());
    header.begin_word = id("<s>");
    header.end_word = id("</s>");
    header.num_buckets = num_buckets_;
    header.longest_probe = longest_probe_;
    header.num_slots = static_cast<std::uint32_t>(words.slots.size());
    header.text_bytes = words.text.size();
    std::copy(std::begin(counts_), std::end(counts_), header.counts);
    header.file_bytes = lm_file::Layout(header).end;
    return header;
}

void LmBuilder::write(const Sink& sink, bool small) {
    close();
    const lm_file::Header header = this->header();
    if (small) {
        const auto is_free = [](const lm_file::Arc& arc) { return arc.context == kEmptyContext; };
        arcs_.erase(std::remove_if(arcs_.begin(), arcs_.end(), is_free), arcs_.end());
        return lm_file::write_small(header, {words.view(), unigrams_.data(), contexts_.data()}, std::move(arcs_), sink);
    }
    lm_file::SectionWriter file(sink);
    const auto all = [&file](const auto& values) { file.add(values.data(), values.size() * sizeof(values[0])); };
    file.add(&header, sizeof(header));
    all(words.slots);
    all(words.offsets);
    all(words.text);
    all(unigrams_);
    all(contexts_);
    all(arcs_);
}

}  // namespace sonant
