// Objects of a class that is written in Python with slots, without the cost of a frozen dataclass's constructor.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace sonant {

// A class and some of its slots. What makes objects must set them all.
class RecordType {
public:
    RecordType(const nanobind::handle& type, const std::vector<nanobind::str>& names) : type_(nanobind::borrow(type)) {
        if (!PyType_Check(type.ptr()))
            throw nanobind::type_error("records must have a class");
        for (const nanobind::str& name : names) {
            nanobind::object slot = type.attr(name);
            const auto set = reinterpret_cast<descrsetfunc>(PyType_GetSlot(Py_TYPE(slot.ptr()), Py_tp_descr_set));
            if (!set)
                throw nanobind::type_error("records must have a class with slots");
            slots_.push_back({std::move(slot), set});
        }
    }

    nanobind::object make() const {
        PyObject* made = PyType_GenericAlloc(reinterpret_cast<PyTypeObject*>(type_.ptr()), 0);
        if (!made)
            throw nanobind::python_error();
        return nanobind::steal(made);
    }

    void set(const nanobind::object& made, std::size_t slot, const nanobind::handle& value) const {
        if (slots_[slot].set(slots_[slot].descriptor.ptr(), made.ptr(), value.ptr()))
            throw nanobind::python_error();
    }

private:
    struct Slot {
        nanobind::object descriptor;
        descrsetfunc set;
    };
    nanobind::object type_;
    std::vector<Slot> slots_;
};

}  // namespace sonant
