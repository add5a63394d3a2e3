// The Python face of the headers beside it: checks shapes, releases the GIL, hands arrays over without a copy.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "best_path.h"
#include "records.h"
#include "to_numpy.h"

namespace nb = nanobind;
using sonant::Array;
using sonant::to_numpy;

using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

std::tuple<Array<std::int32_t>, Array<std::int32_t>, Array<float>, double> runs(const LogProbs& log_probs) {
    const std::size_t num_frames = log_probs.shape(0), num_tokens = log_probs.shape(1);
    if (num_frames > 0 && num_tokens == 0)
        throw nb::value_error("log_probs must have at least one column");
    sonant::Runs found;
    {
        nb::gil_scoped_release release;
        found = sonant::best_path(log_probs.data(), num_frames, num_tokens);
    }
    return {to_numpy(std::move(found.tokens)), to_numpy(std::move(found.first_frames)),
            to_numpy(std::move(found.peaks)), found.total};
}

// Objects from columns of their fields.
nb::list records(const nb::handle& type, const nb::tuple& names, const nb::tuple& columns) {
    if (names.size() != columns.size())
        throw nb::value_error("records must have as many columns as names");
    const sonant::RecordType kind(type, nb::cast<std::vector<nb::str>>(names));
    const auto lists = nb::cast<std::vector<nb::list>>(columns);
    const std::size_t size = lists.empty() ? 0 : lists[0].size();
    nb::list made;
    for (std::size_t i = 0; i < size; ++i) {
        const nb::object object = kind.make();
        for (std::size_t field = 0; field < lists.size(); ++field) {
            PyObject* value = PyList_GetItem(lists[field].ptr(), static_cast<Py_ssize_t>(i));
            if (!value)
                throw nb::python_error();
            kind.set(object, field, value);
        }
        made.append(object);
    }
    return made;
}

void bind_align(nb::module_& module);
void bind_beam(nb::module_& module);
void bind_estimate(nb::module_& module);
void bind_greedy(nb::module_& module);
void bind_lm(nb::module_& module);

NB_MODULE(_native, module) {
    module.def("runs", &runs, nb::arg("log_probs").noconvert());
    bind_align(module);
    module.def("records", &records, nb::arg("type"), nb::arg("names"), nb::arg("columns"));
    bind_estimate(module);
    bind_greedy(module);
    bind_lm(module);
    bind_beam(module);  // which takes a LanguageModel
}
