// Damaged language models under the sanitizers: every file that is named is read hundreds of times with bytes of it
// changed, and must be refused with a std::runtime_error, or give a model that can be asked anything.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include "arpa.h"
#include "kenlm.h"
#include "lm.h"

using namespace sonant;

namespace {

std::mt19937 engine(7);

std::size_t below(std::size_t limit) { return engine() % limit; }

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// A few bytes replaced, some left out of texts, now and then the end; in a third of the turns near the beginning.
std::string damaged(std::string bytes, bool text, bool head) {
    for (std::size_t changes = 1 + below(8); changes > 0 && !bytes.empty(); --changes) {
        const std::size_t at = below(head ? std::min<std::size_t>(bytes.size(), 300) : bytes.size());
        const char values[] = {static_cast<char>(engine()), '\0', '\xff', '\x80', bytes[below(bytes.size())]};
        if (below(10) < 7)
            bytes[at] = values[below(5)];
        else if (text)
            bytes.erase(at, below(9));
        else if (below(8) == 0)
            bytes.resize(below(bytes.size()));
    }
    return bytes;
}

void ask(const LanguageModel& model) {
    LmState state = model.begin();
    for (int i = 0; i < 300; ++i) {
        const auto word = static_cast<WordId>(below(model.num_words() + 2));
        model.prefetch(state, word);
        const LmStep step = model.step(state, word);
        if (!(step.score >= kLowestScore && step.score <= -kLowestScore) || step.next >= model.num_contexts())
            std::abort();
        state = i % 9 ? step.next : static_cast<LmState>(engine());
    }
    for (WordId word = 0; word < std::min<std::size_t>(model.num_words(), 100); ++word)
        model.find(model.word(word));
}

// A file of our own, and what is made small of it.
void ask(const std::string& given, const std::string& output) {
    const LanguageModel model(given);
    ask(model);
    if (model.is_small())
        return;
    std::string made;
    model.write_small([&](const char* piece, std::size_t size) { made.append(piece, size); });
    write(output, made);
    ask(LanguageModel(output));
}

void convert(const std::string& path, const std::string& bytes, bool arpa, const std::string& output) {
    ArpaReader reader;
    std::unique_ptr<LmBuilder> builder;
    if (arpa) {
        const std::size_t cut = below(bytes.size() + 1);
        reader.feed(std::string_view(bytes).substr(0, cut));
        reader.feed(std::string_view(bytes).substr(cut));
        reader.finish();
    } else {
        builder = read_kenlm(MappedFile(path), [](std::uint64_t, std::uint64_t) {});
    }
    std::string made;
    const auto sink = [&](const char* piece, std::size_t size) { made.append(piece, size); };
    (arpa ? reader.builder() : *builder).write(sink, below(2) == 0);
    write(output, made);
    ask(LanguageModel(output));
}

}  // namespace

// sanitized_lm TURNS FOLDER FILE...
int main(int count, char** words) {
    const std::string given = std::string(words[2]) + "/given", made = std::string(words[2]) + "/made";
    for (int i = 3; i < count; ++i) {
        const std::string bytes = read(words[i]);
        const bool arpa = bytes.rfind("\\data\\", 0) == 0, own = bytes.rfind("sonantLM", 0) == 0;
        int refused = 0;
        for (int turn = 0; turn < std::atoi(words[1]); ++turn) {
            const std::string changed = damaged(bytes, arpa, turn % 3 == 0);
            write(given, changed);
            try {
                own ? ask(given, made) : convert(given, changed, arpa, made);
            } catch (const std::runtime_error&) {
                ++refused;
            }
        }
        std::printf("%d\n", refused);
    }
}
