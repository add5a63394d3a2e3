// Text to n-grams of one order: every word with those before it, sentence by sentence, to a sorter.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "lm_builder.h"
#include "row_sort.h"

namespace sonant {

constexpr WordId sentence_begin = 1, sentence_end = 2, special_words = 3;  // 0 is <unk>

// Text that no model can be estimated from; a whole sentence that names the line.
struct TextError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Lines are sentences, words are what stands between ASCII white space. A row holds the n-gram's words from the last to
// the first, a sentence is led by order - 1 marks of its begin. Lines without words are no sentences.
class TextCounter {
  public:
    TextCounter(int order, bool skip_marks, Words& words, RowSorter& rows);

    // A text begins, of which errors will speak by this name.
    void begin(std::string name);
    // More of it; words and lines may go on in the next piece.
    void feed(std::string_view piece);
    // It has ended, with or without a line feed.
    void end();

    std::uint64_t num_words() const { return num_words_; }
    std::uint64_t num_sentences() const { return num_sentences_; }
    std::uint64_t num_skipped() const { return num_skipped_; }

  private:
    void take_word(std::string_view word);
    void append(WordId word);
    void end_line();
    void check_length(std::string_view word) const;
    [[noreturn]] void refuse(const std::string& what) const;

    int order_;
    bool skip_marks_, in_sentence_ = false, at_start_ = true;
    Words* words_;
    RowSorter* rows_;
    std::string name_, partial_;  // the piece of a word that the last piece of text ended in
    std::uint64_t line_ = 1, num_words_ = 0, num_sentences_ = 0, num_skipped_ = 0;
    std::array<std::uint32_t, max_keys> window_;  // the last words, the latest first
};

}  // namespace sonant
