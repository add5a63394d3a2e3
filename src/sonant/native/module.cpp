// The Python face of the headers beside it: checks shapes, releases the GIL, hands arrays over without a copy.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "best_path.h"

namespace nb = nanobind;

template <typename T>
using Array = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// A one-dimensional NumPy array that owns the vector's memory.
template <typename T>
Array<T> to_numpy(std::vector<T>&& values) {
    auto kept = std::make_unique<std::vector<T>>(std::move(values));
    T* data = kept->data();
    const std::size_t size = kept->size();
    nb::capsule owner(kept.get(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    kept.release();
    return Array<T>(data, {size}, owner);
}

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

void bind_beam(nb::module_& module);
void bind_estimate(nb::module_& module);
void bind_lm(nb::module_& module);

NB_MODULE(_native, module) {
    module.def("runs", &runs, nb::arg("log_probs").noconvert());
    bind_estimate(module);
    bind_lm(module);
    bind_beam(module);  // which takes a LanguageModel
}
