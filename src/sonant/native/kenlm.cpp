#include "kenlm.h"

#include <algorithm>
#include <string_view>

#include "utf8.h"

namespace sonant {

namespace kenlm {

namespace {

constexpr char kMagic[] = "mmap lm http://kheafield.com/code format version 5\n";  // and two zero bytes
constexpr std::uint64_t kMagicBytes = 56;
constexpr std::uint64_t kHeaderAt = kMagicBytes + 32;

Header read_header(const Bytes& bytes) {
    const bool known = bytes.size >= kHeaderAt && std::memcmp(bytes.data, kMagic, sizeof(kMagic)) == 0;
    if (!known)
        Bytes::refuse(0, "a KenLM binary of format version 5 was expected");
    if (bytes.read<float>(kMagicBytes + 4) != 1.0f || bytes.read<float>(kMagicBytes + 8) != -0.5f ||
        bytes.read<std::uint32_t>(kMagicBytes + 12) != 1 || bytes.read<std::uint64_t>(kMagicBytes + 24) != 1)
        Bytes::refuse(kMagicBytes, "it was made on a machine of another kind");
    Header header;
    header.order = bytes.read<std::uint8_t>(kHeaderAt);
    header.multiplier = bytes.read<float>(kHeaderAt + 4);
    header.kind = bytes.read<std::uint32_t>(kHeaderAt + 8);
    header.has_words = bytes.read<std::uint8_t>(kHeaderAt + 12) != 0;
    if (header.order < 2 || header.order > static_cast<std::uint32_t>(kMaxOrder))
        Bytes::refuse(kHeaderAt, "its order is " + std::to_string(header.order));
    if (!(header.multiplier >= 1.0f && header.multiplier <= 1000.0f))
        Bytes::refuse(kHeaderAt + 4, "its hash tables have an impossible size");
    if (header.kind > quantised_array_trie)
        Bytes::refuse(kHeaderAt + 8, "its kind is " + std::to_string(header.kind) + ", which is unknown");
    const std::uint32_t version = header.kind >= trie ? 1 : 0;
    if (bytes.read<std::uint32_t>(kHeaderAt + 16) != version)
        Bytes::refuse(kHeaderAt + 16, "its version is not " + std::to_string(version));
    if (!header.has_words)
        Bytes::refuse(kHeaderAt + 12, "it was built without its words; convert the ARPA file it was made of");
    for (std::uint32_t n = 0; n < header.order; ++n) {
        const std::uint64_t at = kHeaderAt + 20 + 8 * n;
        header.counts.push_back(bytes.read<std::uint64_t>(at));
        if (header.counts.back() > bytes.size)  // an n-gram takes a byte at least: no product below can overflow
            Bytes::refuse(at, std::to_string(header.counts.back()) + " n-grams are more than the file can hold");
    }
    header.end = (kHeaderAt + 20 + 8 * header.order + 7) / 8 * 8;
    return header;
}

void read_words(const Bytes& bytes, std::uint64_t at, std::uint64_t num_words, LmBuilder& builder) {
    for (std::uint64_t id = 0; id < num_words; ++id) {
        bytes.need(at, 1);
        const void* end = std::memchr(bytes.data + at, 0, bytes.size - at);
        if (end == nullptr)
            Bytes::refuse(at, "the end of a word was expected");
        const auto* begin = reinterpret_cast<const char*>(bytes.data + at);
        const std::string_view word(begin, static_cast<std::size_t>(static_cast<const char*>(end) - begin));
        if (!is_utf8(word))
            Bytes::refuse(at, "a word is not UTF-8; convert the ARPA file it was made of");
        if (builder.words.add(word) != id)
            Bytes::refuse(at, id == 0 ? "<unk>, the first word, was expected" : "a word has come before");
        at += word.size() + 1;
    }
}

}  // namespace

std::uint64_t table_places(std::uint64_t count, float multiplier) {
    return std::max(count + 1, static_cast<std::uint64_t>(multiplier * static_cast<float>(count)));
}

}  // namespace kenlm

std::unique_ptr<LmBuilder> read_kenlm(const MappedFile& file, const KenlmProgress& progress) {
    using namespace kenlm;
    const Bytes bytes{file.data(), file.size()};
    const Header header = read_header(bytes);
    const bool hashed = header.kind <= rest_probing;
    Source source{bytes, header, header.end, 0};
    if (hashed) {  // u32 version, u32 number of words, then the table: u64 hash, u32 number
        source.num_words = bytes.read<std::uint32_t>(header.end + 4);
        source.at += 8 + 12 * table_places(header.counts[0], header.multiplier);
    } else {  // u64 number of words but <unk>, then their hashes
        source.num_words = std::min(bytes.read<std::uint64_t>(header.end), bytes.size) + 1;
        source.at += 8 + 8 * header.counts[0];
    }
    if (source.num_words > header.counts[0] + 1)
        Bytes::refuse(header.end, std::to_string(source.num_words) + " words came, but " +
                                      std::to_string(header.counts[0]) + " were declared");
    const std::uint64_t end = hashed ? end_of_probing(source) : end_of_trie(source);
    bytes.need(source.at, end - source.at);
    auto builder = std::make_unique<LmBuilder>(static_cast<int>(header.order));
    read_words(bytes, end, source.num_words, *builder);
    (hashed ? read_probing : read_trie)(source, *builder, progress);
    return builder;
}

}  // namespace sonant
