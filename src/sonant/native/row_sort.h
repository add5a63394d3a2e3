// External merge sort of rows: blocks are sorted and written by a second thread while the next one fills.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "row_file.h"

namespace sonant {

constexpr int max_keys = 8;
constexpr int count_numbers = 2;  // a 64-bit count is two numbers of a row, the low one first

inline std::uint64_t read_count(const std::uint32_t* at) {
    return at[0] | std::uint64_t{at[1]} << 32;
}

inline void write_count(std::uint32_t* at, std::uint64_t count) {
    at[0] = static_cast<std::uint32_t>(count);
    at[1] = static_cast<std::uint32_t>(count >> 32);
}

inline int compare_keys(const std::uint32_t* a, const std::uint32_t* b, int keys) {
    for (int i = 0; i < keys; ++i)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

// Sorts `count` rows of `keys` + `load` numbers by their keys; 1 <= keys <= max_keys, load is 0, 2 or 3.
void sort_rows(std::uint32_t* rows, std::size_t count, int keys, int load);

// The rows of sorted runs as one sorted sequence.
class MergedRows {
  public:
    // `ends` are the runs' ends in `file`. `counted` joins rows of equal keys and adds the counts behind the keys.
    MergedRows(std::unique_ptr<RowFile> file, const std::vector<std::uint64_t>& ends, int keys, bool counted,
               std::size_t buffer_bytes);

    // The current row, null after the last. Valid until `next`.
    const std::uint32_t* row() const { return row_; }
    void next();
    // Rows in the runs, before equal ones are joined, and how many of them have been read.
    std::uint64_t size() const { return file_->size(); }
    std::uint64_t taken() const { return taken_; }

  private:
    void settle();
    void advance();
    void sift(std::size_t place);

    int keys_;
    bool counted_;
    std::uint64_t taken_ = 0;
    std::unique_ptr<RowFile> file_;
    std::vector<RowReader> readers_;
    std::vector<RowReader*> heap_;  // the smallest row is on top
    std::vector<std::uint32_t> joined_;
    const std::uint32_t* row_ = nullptr;
};

// Collects rows and gives them back in order.
class RowSorter {
  public:
    // A row that comes in holds `keys` numbers and, unless rows are `counted`, `load` more. A row that goes out of a
    // counted sort holds keys and the count of its occurrences.
    RowSorter(std::string folder, int keys, int load, bool counted, std::size_t block_bytes);

    // Room for one more row, to be filled before the next call.
    std::uint32_t* add() {
        if (filled_ == capacity_)
            hand_over();
        return block_.get() + width_ * filled_++;
    }
    MergedRows finish(std::size_t buffer_bytes);

  private:
    using Block = std::unique_ptr<std::uint32_t[]>;

    void hand_over();
    void write_run(const Block& block, std::size_t rows);

    std::string folder_;
    int keys_, load_;
    bool counted_;
    std::size_t width_, capacity_ = 0, full_capacity_, filled_ = 0;  // capacities in rows
    std::unique_ptr<RowFile> file_;
    std::vector<std::uint64_t> ends_;
    Block block_, spare_;
    std::future<Block> writing_;  // last, so that its thread has ended before what it uses goes
};

}  // namespace sonant
