// The Python face of the beam search. Lists and dictionaries come in checked by `sonant.decode`; the GIL is released
// wherever frames are looped over.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "beam.h"

namespace nb = nanobind;
using sonant::BeamOptions;
using sonant::BeamSearch;
using sonant::BeamState;

namespace {

using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Spelled = std::vector<std::pair<std::vector<std::uint32_t>, std::uint32_t>>;  // tokens and value
// words (-1 outside the lexicon), one past each word's last letter; then of each letter token, first and end frame, peak
using Parts = std::tuple<std::vector<std::int64_t>, std::vector<std::size_t>, std::vector<std::uint32_t>,
                         std::vector<std::uint32_t>, std::vector<std::uint32_t>, std::vector<float>>;
using Scored = std::tuple<double, double, double, Parts>;  // score, acoustic, lm

sonant::Spellings spellings(const Spelled& entries, std::size_t alphabet, std::size_t values) {
    sonant::Spellings made;
    for (const auto& [tokens, value] : entries) {
        bool known = !tokens.empty() && value < values;
        for (std::uint32_t token : tokens)
            known &= token < alphabet;
        if (!known)
            throw nb::value_error("a spelling must have tokens of the vocabulary and stand for a word of the list");
        made.add(tokens, value);
    }
    return made;
}

void init_search(BeamSearch* self, const std::vector<bool>& written, std::uint32_t blank, std::int64_t separator,
                                        const Spelled& lexicon, const std::vector<std::string>& lm_words,
                                        const sonant::LanguageModel* lm, const Spelled& phrases,
                                        const std::vector<float>& boosts, const nb::dict& settings) {
    const auto number = [&](const char* name) { return nb::cast<float>(settings[name]); };
    const auto flag = [&](const char* name) { return nb::cast<bool>(settings[name]); };
    BeamOptions options;
    options.num_tokens = static_cast<std::uint32_t>(written.size());
    options.blank = blank;
    options.separator = separator < 0 ? sonant::kNoToken : static_cast<std::uint32_t>(separator);
    if (blank >= written.size() || (separator >= 0 && options.separator >= written.size()))
        throw nb::value_error("blank and separator must be tokens of the vocabulary");
    options.written = written;
    options.beam_size = nb::cast<std::size_t>(settings["beam_size"]);
    options.token_threshold = number("token_threshold");
    options.score_threshold = number("score_threshold");
    options.blank_skip = std::log(number("blank_skip"));
    options.lm_weight = number("lm_weight");
    options.word_bonus = number("word_bonus");
    options.open = flag("open");
    options.unknown_penalty = number("unknown_penalty");
    options.letter_penalty = number("letter_penalty");
    options.offsets = nb::cast<std::vector<float>>(settings["offsets"]);
    if (!options.offsets.empty() && options.offsets.size() != written.size())
        throw nb::value_error("offsets must have one number a token");
    options.recombine = flag("recombine");
    options.rivals = flag("rivals");
    options.bounded = flag("bounded");
    std::vector<sonant::WordId> ids(lm_words.size(), 0);
    for (std::size_t i = 0; lm && i < ids.size(); ++i)
        ids[i] = lm->find(lm_words[i]);
    const sonant::Spellings words = spellings(lexicon, options.num_tokens, ids.size());
    const sonant::Spellings listened = spellings(phrases, options.num_tokens + std::size_t{1}, boosts.size());
    new (self) BeamSearch(options, words, std::move(ids), lm, listened, boosts);
}

Parts parts_of(const sonant::Reading& reading) {
    Parts parts;
    auto& [words, ends, tokens, starts, stops, peaks] = parts;
    for (const sonant::HeardWord& word : reading.words) {
        words.push_back(word.word == sonant::kUnknownWord ? -1 : std::int64_t{word.word});
        ends.push_back(word.end_letter);
    }
    for (const sonant::LetterLink& letter : reading.letters) {
        tokens.push_back(letter.token);
        starts.push_back(letter.start);
        stops.push_back(letter.end);
        peaks.push_back(letter.peak);
    }
    return parts;
}

void feed(BeamState& state, const LogProbs& log_probs, std::size_t pause) {
    if (log_probs.shape(1) != state.num_tokens())
        throw nb::value_error("log_probs must have one column a token");
    nb::gil_scoped_release release;
    state.feed(log_probs.data(), log_probs.shape(0), pause);
}

std::vector<Scored> finish(const BeamState& state, std::size_t count) {
    nb::gil_scoped_release release;
    std::vector<Scored> found;
    for (const sonant::Reading& reading : state.finish(count))
        found.emplace_back(reading.score, reading.acoustic, reading.lm, parts_of(reading));
    return found;
}

std::pair<int, std::size_t> first_fault(const LogProbs& log_probs) {
    nb::gil_scoped_release release;
    std::size_t frame = 0;
    const auto fault = sonant::first_fault(log_probs.data(), log_probs.shape(0), log_probs.shape(1), frame);
    return {static_cast<int>(fault), frame};
}

}  // namespace

void bind_beam(nb::module_& module) {
    nb::class_<BeamSearch>(module, "BeamSearch")
        .def("__init__", &init_search, nb::arg("written"), nb::arg("blank"), nb::arg("separator"), nb::arg("lexicon"),
             nb::arg("lm_words"), nb::arg("lm").none(), nb::arg("phrases"), nb::arg("boosts"), nb::arg("settings"), nb::keep_alive<1, 7>())
        .def("words_known", [](const BeamSearch& search) {
            std::size_t known = 0;
            for (const sonant::WordId word : search.lm_words)
                known += word != 0;
            return known;
        });
    nb::class_<BeamState>(module, "BeamState")
        .def("__init__",
             [](BeamState* self, std::shared_ptr<BeamSearch> search) { new (self) BeamState(std::move(search)); },
             nb::arg("search"))
        .def("feed", &feed, nb::arg("log_probs").noconvert(), nb::arg("pause"))
        .def("copy", [](const BeamState& state) { return BeamState(state); }, nb::call_guard<nb::gil_scoped_release>())
        .def("finish", &finish, nb::arg("count"))
        .def("stable", [](const BeamState& state, std::size_t first) { return parts_of(state.stable(first)); },
             nb::arg("first"))
        .def("decide", &BeamState::decide, nb::arg("lead"))
        .def_prop_ro("num_frames", &BeamState::num_frames);
    module.def("first_fault", &first_fault, nb::arg("log_probs").noconvert());
}
