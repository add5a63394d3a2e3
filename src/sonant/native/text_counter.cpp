#include "text_counter.h"

#include <algorithm>
#include <utility>

#include "utf8.h"

namespace sonant {

namespace {

constexpr std::size_t longest_word = 65535;  // bytes; whatever is longer is no text with white space
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

bool is_mark(std::string_view word) {
    return word == "<s>" || word == "</s>" || word == "<unk>" || word == "<UNK>";
}

}  // namespace

TextCounter::TextCounter(int order, bool skip_marks, Words& words, RowSorter& rows)
    : order_(order), skip_marks_(skip_marks), words_(&words), rows_(&rows) {
    window_.fill(sentence_begin);
}

void TextCounter::begin(std::string name) {
    name_ = std::move(name);
    line_ = 1;
    at_start_ = true;
}

void TextCounter::feed(std::string_view piece) {
    const char* at = piece.data();
    const char* const end = at + piece.size();
    while (at != end) {
        const char* const word_end = std::find_if(at, end, is_space);
        if (!partial_.empty() || word_end == end) {
            partial_.append(at, word_end);
            check_length(partial_);
        }
        if (word_end == end)
            return;
        if (!partial_.empty()) {
            take_word(partial_);
            partial_.clear();
        } else if (word_end != at) {
            take_word({at, static_cast<std::size_t>(word_end - at)});
        }
        if (*word_end == '\n')
            end_line();
        at = word_end + 1;
    }
}

void TextCounter::end() {
    if (!partial_.empty())
        take_word(partial_);
    partial_.clear();
    end_line();
}

void TextCounter::take_word(std::string_view word) {
    if (std::exchange(at_start_, false) && word.substr(0, byte_order_mark.size()) == byte_order_mark) {
        word.remove_prefix(byte_order_mark.size());
        if (word.empty())
            return;
    }
    if (word.front() == '<' && is_mark(word)) {
        if (!skip_marks_)
            refuse("holds " + std::string(word) + ", which a model keeps for itself; remove it, or let it be skipped.");
        ++num_skipped_;
        return;
    }
    const std::size_t known = words_->offsets.size();
    const WordId number = words_->add(word);
    if (words_->offsets.size() > known) {
        check_length(word);
        if (!is_utf8(word))
            refuse("is not UTF-8; convert the text first.");
    }
    ++num_words_;
    in_sentence_ = true;
    append(number);
}

void TextCounter::append(WordId word) {
    for (int i = order_ - 1; i > 0; --i)
        window_[static_cast<std::size_t>(i)] = window_[static_cast<std::size_t>(i - 1)];
    window_[0] = word;
    std::copy_n(window_.begin(), order_, rows_->add());
}

void TextCounter::end_line() {
    ++line_;
    if (!in_sentence_)
        return;
    append(sentence_end);
    ++num_sentences_;
    in_sentence_ = false;
    window_.fill(sentence_begin);
}

void TextCounter::check_length(std::string_view word) const {
    if (word.size() > longest_word)
        refuse("holds a word of more than 65535 bytes; is this text, with white space between its words?");
}

void TextCounter::refuse(const std::string& what) const {
    throw TextError("Line " + std::to_string(line_) + " of " + name_ + " " + what);
}

}  // namespace sonant
