// The Python face of lm.h and of what writes its files. Words are bytes in UTF-8; paths are bytes, too.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "arpa.h"
#include "kenlm.h"
#include "lm.h"

namespace nb = nanobind;

namespace {

using sonant::LanguageModel;

std::string_view view(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

// Hands a file over to Python's `write`, piece by piece.
sonant::LmBuilder::Sink writer(const nb::callable& write) {
    return [&write](const char* bytes, std::size_t size) {
        nb::gil_scoped_acquire acquire;
        write(nb::bytes(bytes, size));
    };
}

std::vector<std::size_t> counts(const LanguageModel& model) {
    std::vector<std::size_t> result;
    for (int order = 1; order <= model.order(); ++order)
        result.push_back(model.num_ngrams(order));
    return result;
}

nb::list words(const LanguageModel& model) {
    nb::list result;
    for (std::size_t id = 0; id < model.num_words(); ++id) {
        const std::string_view word = model.word(static_cast<sonant::WordId>(id));
        result.append(nb::bytes(word.data(), word.size()));
    }
    return result;
}

std::tuple<float, sonant::LmState> step(const LanguageModel& model, sonant::LmState state, sonant::WordId word) {
    const sonant::LmStep next = model.step(state, word);
    return {next.score, next.next};
}

// What each of `words` costs, and </s> after them; the other list says which words the model knows.
std::tuple<std::vector<float>, std::vector<bool>> score(const LanguageModel& model, const nb::list& words, bool begin,
                                                        bool end) {
    std::tuple<std::vector<float>, std::vector<bool>> result;
    auto& [scores, known] = result;
    sonant::LmState state = begin ? model.begin() : sonant::kEmptyContext;
    for (const nb::handle word : words) {
        const sonant::WordId id = model.find(view(nb::cast<nb::bytes>(word)));
        const sonant::LmStep next = model.step(state, id);
        scores.push_back(next.score);
        known.push_back(id != 0);
        state = next.next;
    }
    if (end)
        scores.push_back(model.end(state));
    return result;
}

// A KenLM binary as one of ours, `small` or exact. `progress` is told how many steps of how many are done; Ctrl-C ends the work.
void convert_kenlm(const nb::bytes& path, const nb::callable& write, const nb::object& progress, bool small) {
    const std::string name(view(path));
    nb::gil_scoped_release release;
    const sonant::MappedFile file(name);
    const auto tell = [&progress](std::uint64_t done, std::uint64_t total) {
        nb::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0)
            throw nb::python_error();
        if (!progress.is_none())
            progress(done, total);
    };
    sonant::read_kenlm(file, tell)->write(writer(write), small);
}

}  // namespace

void bind_lm(nb::module_& module) {
    nb::class_<LanguageModel>(module, "LanguageModel")
        .def("__init__",
             [](LanguageModel* self, const nb::bytes& path) { new (self) LanguageModel(std::string(view(path))); },
             nb::arg("path"))
        .def_prop_ro("order", &LanguageModel::order)
        .def_prop_ro("num_words", &LanguageModel::num_words)
        .def_prop_ro("num_contexts", &LanguageModel::num_contexts)
        .def_prop_ro("counts", &counts)
        .def_prop_ro("is_small", &LanguageModel::is_small)
        .def_prop_ro("begin", &LanguageModel::begin)
        .def("find", [](const LanguageModel& self, const nb::bytes& word) { return self.find(view(word)); },
             nb::arg("word"))
        .def("words", &words)
        .def("step", &step, nb::arg("state"), nb::arg("word"))
        .def("end", &LanguageModel::end, nb::arg("state"))
        .def("unigram", &LanguageModel::unigram, nb::arg("word"))
        .def("write_small",
             [](const LanguageModel& self, const nb::callable& write) {
                 nb::gil_scoped_release release;
                 self.write_small(writer(write));
             },
             nb::arg("write"))
        .def("score", &score, nb::arg("words"), nb::arg("begin") = true, nb::arg("end") = true);

    module.def("convert_kenlm", &convert_kenlm, nb::arg("path"), nb::arg("write"),
               nb::arg("progress").none() = nb::none(), nb::arg("small") = false);

    nb::class_<sonant::ArpaReader>(module, "ArpaReader")
        .def(nb::init<>())
        .def("feed",
             [](sonant::ArpaReader& self, const nb::bytes& text) {
                 const std::string_view piece = view(text);
                 nb::gil_scoped_release release;
                 self.feed(piece);
             },
             nb::arg("text"))
        .def("write",
             [](sonant::ArpaReader& self, const nb::callable& write, bool small) {
                 nb::gil_scoped_release release;
                 self.finish();
                 self.builder().write(writer(write), small);
             },
             nb::arg("write"), nb::arg("small") = false);
}
