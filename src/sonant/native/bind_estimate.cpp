// The Python face of kneser_ney.h: text comes in as bytes, the model goes out to callables; the GIL is released between.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kneser_ney.h"
#include "model_sinks.h"

namespace nb = nanobind;

namespace {

using sonant::KneserNey;

// Runs the interpreter's signal handlers (Ctrl-C raises in one) and tells `progress`, which may be None.
sonant::Tick ticking(const nb::object& progress) {
    return [&progress](const std::string& stage, std::uint64_t done, std::uint64_t total) {
        nb::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0)
            throw nb::python_error();
        if (!progress.is_none())
            progress(stage, done, total);
    };
}

nb::dict described(const sonant::Estimate& estimate) {
    nb::dict result;
    nb::list discounts;
    for (const sonant::Discount& discount : estimate.discounts)
        discounts.append(nb::make_tuple(discount.amount[1], discount.amount[2], discount.amount[3]));
    nb::list estimated;
    for (const sonant::Discount& discount : estimate.discounts)
        estimated.append(discount.estimated);
    result["num_sentences"] = estimate.num_sentences;
    result["num_words"] = estimate.num_words;
    result["num_skipped"] = estimate.num_skipped;
    result["num_types"] = estimate.num_types;
    result["found"] = nb::cast(estimate.found);
    result["kept"] = nb::cast(estimate.kept);
    result["discounts"] = discounts;
    result["estimated"] = estimated;
    return result;
}

sonant::Write writing(const nb::object& write) {
    return [&write](std::string_view piece) {
        nb::gil_scoped_acquire acquire;
        write(nb::bytes(piece.data(), piece.size()));
    };
}

nb::dict finish(KneserNey& model, const nb::object& write_arpa, const nb::object& write_lm, bool small,
                const nb::object& progress) {
    sonant::ArpaWriter arpa(writing(write_arpa));
    sonant::LmWriter lm(writing(write_lm), small);
    std::vector<sonant::ModelSink*> sinks;
    if (!write_arpa.is_none())
        sinks.push_back(&arpa);
    if (!write_lm.is_none())
        sinks.push_back(&lm);
    sonant::Estimate estimate;
    {
        nb::gil_scoped_release release;
        estimate = model.finish(sinks, ticking(progress));
    }
    return described(estimate);
}

}  // namespace

void bind_estimate(nb::module_& module) {
    nb::exception<sonant::TextError>(module, "TextError", PyExc_ValueError);
    nb::exception<sonant::TemporaryFileError>(module, "TemporaryFileError", PyExc_RuntimeError);
    nb::class_<KneserNey>(module, "KneserNey")
        .def(
            "__init__",
            [](KneserNey* place, int order, std::vector<std::uint64_t> thresholds,
               std::optional<std::vector<std::string>> allowed_words, bool skip_marks, std::size_t memory,
               const nb::bytes& folder) {
                if (order < 1 || order > sonant::max_keys || thresholds.size() != static_cast<std::size_t>(order))
                    throw nb::value_error("one threshold for each of one to eight orders is needed");
                thresholds.insert(thresholds.begin(), 0);
                new (place) KneserNey({order, std::move(thresholds), std::move(allowed_words), skip_marks, memory,
                                       std::string(folder.c_str(), folder.size())});
            },
            nb::kw_only(), nb::arg("order"), nb::arg("thresholds"), nb::arg("allowed_words").none(),
            nb::arg("skip_marks"), nb::arg("memory"), nb::arg("folder"))
        .def("begin", [](KneserNey& model, std::string name) { model.text().begin(std::move(name)); }, nb::arg("name"))
        .def(
            "feed",
            [](KneserNey& model, const nb::bytes& piece) {
                const std::string_view bytes(static_cast<const char*>(piece.data()), piece.size());
                nb::gil_scoped_release release;
                model.text().feed(bytes);
            },
            nb::arg("piece"))
        .def("end", [](KneserNey& model) { model.text().end(); }, nb::call_guard<nb::gil_scoped_release>())
        .def("finish", &finish, nb::kw_only(), nb::arg("write_arpa").none(), nb::arg("write_lm").none(),
             nb::arg("small") = false, nb::arg("progress").none());
}
