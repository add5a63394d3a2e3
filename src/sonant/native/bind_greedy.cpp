// The Python face of greedy decoding: words and letters as objects of the classes in `sonant.types`.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "greedy.h"
#include "records.h"

namespace nb = nanobind;
using sonant::GreedyLetter;
using sonant::GreedyState;
using sonant::RecordType;

namespace {

using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void init_state(GreedyState* self, std::size_t num_tokens, std::int32_t blank, std::int32_t separator,
                const std::vector<std::size_t>& mute, double pause) {
    if (blank < 0 || static_cast<std::size_t>(blank) >= num_tokens)
        throw nb::value_error("the blank must be a token of the vocabulary");
    sonant::GreedyOptions options{blank, separator, std::vector<bool>(num_tokens), pause};
    for (const std::size_t token : mute)
        if (token < num_tokens)
            options.mute[token] = true;
    new (self) GreedyState(std::move(options));
}

void feed(GreedyState& state, const LogProbs& log_probs, std::int64_t first, double frame_seconds) {
    if (log_probs.shape(1) != state.num_tokens())
        throw nb::value_error("log_probs must have one column a token");
    nb::gil_scoped_release release;
    state.feed(log_probs.data(), log_probs.shape(0), first, frame_seconds);
}

// Makes `Word` and `Letter` of `sonant.types`.
class WordMaker {
public:
    WordMaker(const nb::tuple& texts, const nb::handle& word, const nb::handle& letter)
        : texts_(texts),
          word_(word, {nb::str("text"), nb::str("start"), nb::str("end"), nb::str("confidence"), nb::str("letters"),
                nb::str("speaker")}),
          letter_(letter, {nb::str("text"), nb::str("start"), nb::str("end"), nb::str("confidence")}) {}

    nb::object make(const GreedyLetter* letters, std::size_t size) const {
        const auto count = static_cast<Py_ssize_t>(size);
        const nb::object made = checked(PyTuple_New(count)), texts = checked(PyTuple_New(count));
        for (Py_ssize_t i = 0; i < count; ++i) {
            const nb::object text = nb::borrow(texts_[static_cast<std::size_t>(letters[i].token)]);
            nb::object letter = letter_.make();
            fill(letter_, letter, text, letters[i].start, letters[i].end, letters[i].confidence);
            PyTuple_SetItem(made.ptr(), i, letter.release().ptr());
            PyTuple_SetItem(texts.ptr(), i, nb::object(text).release().ptr());
        }
        nb::object word = word_.make();
        fill(word_, word, checked(PyUnicode_Join(nb::str("").ptr(), texts.ptr())), letters[0].start,
             letters[size - 1].end, sonant::word_confidence(letters, size));
        word_.set(word, 4, made);
        word_.set(word, 5, nb::none());
        return word;
    }

private:
    static nb::object checked(PyObject* made) {
        if (!made)
            throw nb::python_error();
        return nb::steal(made);
    }

    static void fill(const RecordType& type, const nb::object& made, const nb::handle& text, double start, double end,
                     double confidence) {
        type.set(made, 0, text);
        type.set(made, 1, nb::float_(start));
        type.set(made, 2, nb::float_(end));
        type.set(made, 3, nb::float_(confidence));
    }

    nb::tuple texts_;
    RecordType word_, letter_;
};

nb::list take_words(GreedyState& state, const nb::tuple& texts, const nb::handle& word, const nb::handle& letter) {
    const WordMaker maker(texts, word, letter);
    nb::list words;
    std::size_t begin = 0;
    for (const std::size_t end : state.word_ends()) {
        words.append(maker.make(state.letters().data() + begin, end - begin));
        begin = end;
    }
    state.forget_words();
    return words;
}

nb::object ended_word(const GreedyState& state, const nb::tuple& texts, const nb::handle& word,
                      const nb::handle& letter) {
    if (!state.open_word_stays())
        return nb::none();
    const std::size_t begin = state.open_begin();
    return WordMaker(texts, word, letter).make(state.letters().data() + begin, state.letters().size() - begin);
}

}  // namespace

void bind_greedy(nb::module_& module) {
    nb::class_<GreedyState>(module, "GreedyState")
        .def("__init__", &init_state, nb::arg("num_tokens"), nb::arg("blank"), nb::arg("separator"), nb::arg("mute"),
             nb::arg("pause"))
        .def("feed", &feed, nb::arg("log_probs").noconvert(), nb::arg("first"), nb::arg("frame_seconds"))
        .def("finish", &GreedyState::finish)
        .def("copy", [](const GreedyState& state) { return GreedyState(state); })
        .def("take_words", &take_words, nb::arg("texts"), nb::arg("word"), nb::arg("letter"))
        .def("ended_word", &ended_word, nb::arg("texts"), nb::arg("word"), nb::arg("letter"))
        .def_prop_ro("score", &GreedyState::score);
}
