// The Python face of the aligner: arrays come in checked by `sonant.align`, and the GIL is released.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "align.h"
#include "to_numpy.h"

namespace nb = nanobind;

namespace {

using LogProbs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Costs = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Found = std::tuple<int, sonant::Array<std::int32_t>, sonant::Array<std::int32_t>, double, std::uint64_t>;

void add_units(sonant::AlignTask& task, const Indices& begins, const Indices& ends, const Costs& costs) {
    std::size_t last = 0;
    for (std::size_t i = 0; i < begins.shape(0); ++i) {
        const auto begin = static_cast<std::size_t>(begins.data()[i]), end = static_cast<std::size_t>(ends.data()[i]);
        if (begin < last || end <= begin || end > task.tokens.size() || !(costs.data()[i] >= 0.0f))
            throw nb::value_error("units must follow one another within the tokens and cost 0 or more");
        task.unit_begins.push_back(begin);
        task.unit_ends.push_back(last = end);
        task.unit_costs.push_back(costs.data()[i]);
    }
}

Found align(const LogProbs& log_probs, const Indices& tokens, std::size_t blank, float wildcard_cost,
            const Indices& unit_begins, const Indices& unit_ends, const Costs& unit_costs, float threshold, bool exact,
            std::size_t memory, std::uint64_t most_cells) {
    sonant::AlignTask task;
    task.log_probs = log_probs.data();
    task.num_frames = log_probs.shape(0);
    task.num_columns = log_probs.shape(1);
    task.tokens.assign(tokens.data(), tokens.data() + tokens.shape(0));
    task.blank = blank;
    task.wildcard_cost = wildcard_cost;
    if (blank >= task.num_columns || !(wildcard_cost >= 0.0f) || !(threshold > 0.0f))
        throw nb::value_error("blank must be a column, the wildcard's cost 0 or more, the threshold above 0");
    for (const std::int32_t token : task.tokens)
        if (token < 0 || static_cast<std::size_t>(token) > task.num_columns || static_cast<std::size_t>(token) == blank)
            throw nb::value_error("tokens must be columns other than the blank, or the wildcard behind the last");
    if (unit_begins.shape(0) != unit_ends.shape(0) || unit_begins.shape(0) != unit_costs.shape(0))
        throw nb::value_error("units must have a begin, an end and a cost each");
    add_units(task, unit_begins, unit_ends, unit_costs);
    sonant::Aligned found;
    {
        nb::gil_scoped_release release;
        found = sonant::align(task, {threshold, exact, memory, most_cells});
    }
    return {static_cast<int>(found.proof), sonant::to_numpy(std::move(found.starts)),
            sonant::to_numpy(std::move(found.ends)), found.score, found.num_cells};
}

}  // namespace

void bind_align(nb::module_& module) {
    module.def("align", &align, nb::arg("log_probs").noconvert(), nb::arg("tokens").noconvert(), nb::arg("blank"),
               nb::arg("wildcard_cost"), nb::arg("unit_begins").noconvert(), nb::arg("unit_ends").noconvert(),
               nb::arg("unit_costs").noconvert(), nb::arg("threshold"), nb::arg("exact"), nb::arg("memory"),
               nb::arg("most_cells"));
}
