// The Python face of the headers beside it: checks shapes, releases the GIL, hands arrays over without a copy.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include "best_path.h"
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

void bind_align(nb::module_& module);
// Objects of a class in Python from columns of their fields, without the cost of a frozen dataclass's constructor.
nb::list records(const nb::handle& type, const nb::tuple& names, const nb::tuple& columns) {
    const std::size_t size = columns.size() ? nb::len(nb::object(columns[0])) : 0;
    if (!PyType_Check(type.ptr()) || names.size() != columns.size())
        throw nb::value_error("records must have a class and as many columns as names");
    nb::list made;
    for (std::size_t i = 0; i < size; ++i) {
        const nb::object object = nb::steal(PyType_GenericAlloc(reinterpret_cast<PyTypeObject*>(type.ptr()), 0));
        if (!object.is_valid())
            throw nb::python_error();
        for (std::size_t field = 0; field < names.size(); ++field) {
            PyObject* value = PyList_GetItem(nb::object(columns[field]).ptr(), static_cast<Py_ssize_t>(i));
            if (!value || PyObject_GenericSetAttr(object.ptr(), nb::object(names[field]).ptr(), value))
                throw nb::python_error();
        }
        made.append(object);
    }
    return made;
}

void bind_beam(nb::module_& module);
void bind_estimate(nb::module_& module);
void bind_lm(nb::module_& module);

NB_MODULE(_native, module) {
    module.def("runs", &runs, nb::arg("log_probs").noconvert());
    bind_align(module);
    module.def("records", &records, nb::arg("type"), nb::arg("names"), nb::arg("columns"));
    bind_estimate(module);
    bind_lm(module);
    bind_beam(module);  // which takes a LanguageModel
}
