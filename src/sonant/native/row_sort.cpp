#include "row_sort.h"

#include <array>
#include <utility>

namespace sonant {

namespace {

template <int Keys, int Load>
void sort_fixed(std::uint32_t* rows, std::size_t count) {
    using Row = std::array<std::uint32_t, Keys + Load>;
    auto* first = reinterpret_cast<Row*>(rows);
    std::sort(first, first + count, [](const Row& a, const Row& b) {
        for (int i = 0; i < Keys - 1; ++i)
            if (a[i] != b[i])
                return a[i] < b[i];
        return a[Keys - 1] < b[Keys - 1];
    });
}

template <int Keys>
void sort_keys(std::uint32_t* rows, std::size_t count, int keys, int load) {
    if (keys == Keys)
        load == 0 ? sort_fixed<Keys, 0>(rows, count)
                  : load == 2 ? sort_fixed<Keys, 2>(rows, count) : sort_fixed<Keys, 3>(rows, count);
    else if constexpr (Keys < max_keys)
        sort_keys<Keys + 1>(rows, count, keys, load);
}

}  // namespace

void sort_rows(std::uint32_t* rows, std::size_t count, int keys, int load) {
    sort_keys<1>(rows, count, keys, load);
}

MergedRows::MergedRows(std::unique_ptr<RowFile> file, const std::vector<std::uint64_t>& ends, int keys, bool counted,
                       std::size_t buffer_bytes)
    : keys_(keys), counted_(counted), file_(std::move(file)), joined_(file_->width()) {
    const std::size_t share = buffer_bytes / std::max<std::size_t>(1, ends.size());
    readers_.reserve(ends.size());  // the heap points into it
    std::uint64_t first = 0;
    for (const std::uint64_t end : ends) {
        readers_.emplace_back(*file_, first, end, share);
        heap_.push_back(&readers_.back());
        first = end;
    }
    for (std::size_t place = heap_.size(); place-- > 0;)
        sift(place);
    settle();
}

void MergedRows::next() {
    if (!counted_)  // a counted row has been stepped over by the one who joined it
        advance();
    settle();
}

// Make the smallest row the current one.
void MergedRows::settle() {
    if (heap_.empty()) {
        row_ = nullptr;
        return;
    }
    row_ = heap_.front()->row();
    if (!counted_)
        return;
    std::copy_n(row_, joined_.size(), joined_.begin());
    std::uint64_t count = read_count(joined_.data() + keys_);
    for (advance(); !heap_.empty() && compare_keys(heap_.front()->row(), joined_.data(), keys_) == 0; advance())
        count += read_count(heap_.front()->row() + keys_);
    write_count(joined_.data() + keys_, count);
    row_ = joined_.data();
}

// Step over the smallest row.
void MergedRows::advance() {
    ++taken_;
    heap_.front()->next();
    if (!heap_.front()->row()) {
        heap_.front() = heap_.back();
        heap_.pop_back();
    }
    sift(0);
}

// Let the reader at `place` sink to where it belongs.
void MergedRows::sift(std::size_t place) {
    if (place >= heap_.size())
        return;
    RowReader* const sinking = heap_[place];
    for (std::size_t child; (child = 2 * place + 1) < heap_.size(); place = child) {
        if (child + 1 < heap_.size() && compare_keys(heap_[child + 1]->row(), heap_[child]->row(), keys_) < 0)
            ++child;
        if (compare_keys(sinking->row(), heap_[child]->row(), keys_) <= 0)
            break;
        heap_[place] = heap_[child];
    }
    heap_[place] = sinking;
}

RowSorter::RowSorter(std::string folder, int keys, int load, bool counted, std::size_t block_bytes)
    : folder_(std::move(folder)), keys_(keys), load_(load), counted_(counted),
      width_(static_cast<std::size_t>(keys + (counted ? 0 : load))),
      full_capacity_(std::max<std::size_t>(1, block_bytes / (width_ * sizeof(std::uint32_t)))),
      file_(std::make_unique<RowFile>(folder_, static_cast<std::size_t>(keys + load))) {}

// Begin a new block; the full one is sorted and written beside.
void RowSorter::hand_over() {
    if (!block_) {  // memory is taken with the first row, and touched as rows come
        block_.reset(new std::uint32_t[full_capacity_ * width_]);
        capacity_ = full_capacity_;
        return;
    }
    if (writing_.valid())
        spare_ = writing_.get();
    else
        spare_.reset(new std::uint32_t[full_capacity_ * width_]);
    writing_ = std::async(std::launch::async, [this, rows = filled_, block = std::move(block_)]() mutable {
        write_run(block, rows);
        return std::move(block);
    });
    block_ = std::move(spare_);
    filled_ = 0;
}

void RowSorter::write_run(const Block& block, std::size_t rows) {
    std::uint32_t* const first = block.get();
    std::uint32_t* const end = first + rows * width_;
    sort_rows(first, rows, keys_, counted_ ? 0 : load_);
    std::vector<std::uint32_t> joined(file_->width());
    for (const std::uint32_t* row = first; row != end;) {
        if (!counted_) {
            file_->append(row);
            row += width_;
            continue;
        }
        const std::uint32_t* last = row;
        while (last != end && compare_keys(row, last, keys_) == 0)
            last += width_;
        std::copy_n(row, keys_, joined.begin());
        write_count(joined.data() + keys_, static_cast<std::uint64_t>(last - row) / width_);
        file_->append(joined.data());
        row = last;
    }
    file_->flush();
    ends_.push_back(file_->size());
}

MergedRows RowSorter::finish(std::size_t buffer_bytes) {
    if (writing_.valid())
        writing_.get();
    spare_.reset();
    if (filled_ > 0)
        write_run(block_, filled_);
    block_.reset();
    return {std::move(file_), ends_, keys_, counted_, buffer_bytes};
}

}  // namespace sonant
