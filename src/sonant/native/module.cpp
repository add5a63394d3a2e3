// The module: what each bind_*.cpp adds to it, and objects made from columns.

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <vector>

#include "records.h"

namespace nb = nanobind;

// Objects of a class from columns of their fields.
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
#ifdef NDEBUG
    nb::set_leak_warnings(false);  // a process that is ended while its threads decode still holds objects
#endif
    bind_align(module);
    module.def("records", &records, nb::arg("type"), nb::arg("names"), nb::arg("columns"));
    bind_estimate(module);
    bind_greedy(module);
    bind_lm(module);
    bind_beam(module);  // which takes a LanguageModel
}
