#include "lm.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "lm_small_writer.h"

namespace sonant {

namespace {

bool little_endian() {
    const std::uint32_t one = 1;
    unsigned char first;
    std::memcpy(&first, &one, 1);
    return first == 1;
}

// Throws unless every section that the header speaks of lies within a file of `size` bytes.
void check(const lm_file::Header& header, std::uint64_t size, const std::string& path) {
    const auto refuse = [&path](std::size_t offset, const std::string& what) {
        throw std::runtime_error(path + " is damaged at byte " + std::to_string(offset) + ": " + what +
                                 "; convert or build the language model again.");
    };
    if (header.order < 1 || header.order > static_cast<std::uint32_t>(kMaxOrder))
        refuse(offsetof(lm_file::Header, order), "its order is " + std::to_string(header.order));
    if (header.num_words < 1 || header.num_words == kNoWord)
        refuse(offsetof(lm_file::Header, num_words), "it must have words, the unknown one at least");
    if (header.num_contexts < 1)
        refuse(offsetof(lm_file::Header, num_contexts), "it must have contexts, the empty one at least");
    const bool small = header.version == lm_file::kSmallVersion;
    if (!small && header.num_buckets < 1)
        refuse(offsetof(lm_file::Header, num_buckets), "it must have buckets, an empty one at least");
    if (small ? header.next_bits > 32 : header.longest_probe > header.num_buckets)
        refuse(offsetof(lm_file::Header, longest_probe), "its n-grams cannot be found");
    if (header.begin_word >= header.num_words || header.end_word >= header.num_words)
        refuse(offsetof(lm_file::Header, begin_word), "<s> or </s> is none of its words");
    if (header.text_bytes > 0xffffffffu)
        refuse(offsetof(lm_file::Header, text_bytes), "its words take too much room");
    const std::uint64_t wanted = small ? lm_file::SmallLayout(header).end : lm_file::Layout(header).end;
    if (header.file_bytes != wanted || size != wanted)
        refuse(size < wanted ? size : offsetof(lm_file::Header, file_bytes),
               std::to_string(wanted) + " bytes were expected, but the file has " + std::to_string(size));
}

}  // namespace

LanguageModel::LanguageModel(const std::string& path) : file_(path), header_() {
    if (file_.size() < sizeof(header_) || std::memcmp(file_.data(), lm_file::kMagic, sizeof(lm_file::kMagic)) != 0)
        throw std::runtime_error(path + " is no language model of sonant's own: 'sonantLM' was expected at byte 0; "
                                 "convert it first with sonant lm convert.");
    std::memcpy(&header_, file_.data(), sizeof(header_));
    if (!little_endian() || header_.version < lm_file::kExactVersion || header_.version > lm_file::kSmallVersion)
        throw std::runtime_error(path + " has version " + std::to_string(header_.version) + " at byte 8, but version " +
                                 std::to_string(lm_file::kExactVersion) + " or " +
                                 std::to_string(lm_file::kSmallVersion) +
                                 " is what can be read here; convert or build it again.");
    check(header_, file_.size(), path);
    if (header_.version == lm_file::kSmallVersion)
        small_ = std::make_unique<const lm_file::SmallModel>(header_, file_.data());
    else
        open_exact();
    if (header_.begin_word)
        begin_ = stored(is_small() ? small_->unigram(header_.begin_word).next : unigrams_[header_.begin_word].next);
}

void LanguageModel::open_exact() {
    const lm_file::Layout layout(header_);
    const unsigned char* base = file_.data();
    words_.slots = reinterpret_cast<const WordId*>(base + layout.slots);
    words_.offsets = reinterpret_cast<const std::uint32_t*>(base + layout.offsets);
    words_.text = reinterpret_cast<const char*>(base + layout.text);
    words_.num_slots = header_.num_slots;
    words_.num_words = header_.num_words;
    words_.text_bytes = header_.text_bytes;
    unigrams_ = reinterpret_cast<const lm_file::Unigram*>(base + layout.unigrams);
    contexts_ = reinterpret_cast<const lm_file::Context*>(base + layout.contexts);
    arcs_ = reinterpret_cast<const lm_file::Arc*>(base + layout.arcs);
}

void LanguageModel::write_small(const std::function<void(const char* bytes, std::size_t size)>& sink) const {
    if (is_small())
        throw std::runtime_error("it is small already");
    std::vector<lm_file::Arc> arcs;
    const lm_file::Arc* const end = arcs_ + std::size_t{header_.num_buckets} * lm_file::kBucket;
    std::copy_if(arcs_, end, std::back_inserter(arcs), [](const lm_file::Arc& arc) { return arc.context != 0; });
    lm_file::write_small(header_, {words_, unigrams_, contexts_}, std::move(arcs), sink);
}

std::size_t LanguageModel::num_ngrams() const noexcept {
    return static_cast<std::size_t>(std::accumulate(header_.counts, header_.counts + kMaxOrder, std::uint64_t{0}));
}

std::size_t LanguageModel::num_ngrams(int order) const noexcept {
    return order >= 1 && order <= kMaxOrder ? static_cast<std::size_t>(header_.counts[order - 1]) : 0;
}

WordId LanguageModel::find(std::string_view word) const noexcept {
    const WordId id = is_small() ? small_->words.find(word) : words_.find(word);
    return id == kNoWord ? 0 : id;
}

}  // namespace sonant
